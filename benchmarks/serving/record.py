"""Measurements as JSON, with the command that made them."""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any


def record(out: Path | None, **measured: Any) -> None:
    """Print the document, and write it where `out` says."""
    script = Path(sys.argv[0])
    document = {
        "command": " ".join(["python", f"benchmarks/serving/{script.name}", *sys.argv[1:]]),
        "on": {"cores": os.cpu_count(), "vllm": version("vllm"), "torch": version("torch")},
    } | measured
    text = json.dumps(document, indent=1)
    print(text)
    if out:
        out.write_text(text + "\n")
