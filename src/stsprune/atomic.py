"""Files that are whole or not there: written beside their place, then moved into it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Write UTF-8; missing folders are made. An interruption leaves the old file."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """See `write_text`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    fresh.write_bytes(content)
    os.replace(fresh, path)


def write_json(path: Path, document: Any, indent: int | None = 1) -> None:
    """See `write_text`."""
    write_text(path, json.dumps(document, indent=indent, ensure_ascii=False) + "\n")
