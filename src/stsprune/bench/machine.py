"""What a measurement was made on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch


def machine(device: str) -> dict[str, Any]:
    """Processor or GPU, threads, versions, and the commit of this package's source tree."""
    kind = torch.device(device).type
    return {
        "device": torch.cuda.get_device_name(device) if kind == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": _version("transformers"),
        "triton": _version("triton"),
        "stsprune": _version("stsprune"),
        "commit": commit(),
    }


def commit() -> str | None:
    """The checked-out commit, "+" behind it where files differ from it; None without one."""
    home = Path(__file__).resolve().parent
    head = _git(home, "rev-parse", "--short=12", "HEAD")
    if head is None:
        return None
    changed = _git(home, "status", "--porcelain", "--untracked-files=no", "--", str(home.parent))
    return head + "+" if changed else head


def _git(home: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(home), *words], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
