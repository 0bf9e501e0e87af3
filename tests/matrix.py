"""Run the engine's tests under several transformers releases: `python tests/matrix.py RELEASE...`.

A release is a version, "newest" or "next" (with pre-releases). Each is installed into a folder of
its own that stands before the environment's packages on the path, which takes seconds. Few of what
`make test` runs in hundreds: random prompts of each family, and a fourth of the methods on each;
and five tokens decoded where it decodes eight.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(".overlays")
#: What releases before 5.16 need in older versions than today's.
COMPANIONS = (
    "huggingface_hub==1.33.0",
    "tokenizers==0.22.2",
    "httpx==0.28.1",
    "httpcore==1.0.9",
    "certifi",
)
WANTED = {"newest": ["transformers"], "next": ["--pre", "transformers"]}


def overlay(release: str) -> Path:
    """A folder with this release; "newest" and "next" are asked for anew."""
    folder = FOLDER / release
    if (folder / "ready").exists() and release not in WANTED:
        return folder
    wanted = WANTED.get(release, [f"transformers=={release}"])
    if re.match(r"5\.(\d|1[0-5])\.", release):
        wanted = [*wanted, *COMPANIONS]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"]
    subprocess.run([*command, "--target", str(folder), *wanted], check=True)
    (folder / "ready").touch()
    return folder


def run(release: str) -> bool:
    """Whether the engine's tests pass under a release."""
    environment = os.environ | {
        "PYTHONPATH": str(overlay(release).resolve()),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "STSPRUNE_EXAMPLES": "6",
    }
    tests = ["-m", "pytest", "-q", "-n", "auto", "--dist", "worksteal", "tests/engine"]
    version = "import transformers; print(transformers.__version__)"
    found = subprocess.check_output([sys.executable, "-c", version], env=environment, text=True)
    print(f"== transformers {found.strip()} ({release})", flush=True)
    start = time.monotonic()
    code = subprocess.run([sys.executable, *tests], env=environment).returncode
    print(f"== {found.strip()}: exit {code} after {time.monotonic() - start:.0f} s", flush=True)
    return code == 0


def main(releases: list[str]) -> int:
    """0 where every release passed."""
    failed = [release for release in releases if not run(release)]
    print("failed: " + ", ".join(failed) if failed else "every release passed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
