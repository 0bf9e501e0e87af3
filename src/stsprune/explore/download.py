"""What `Download` gives: a ZIP file with a picture per column and the trace as JSON."""

from __future__ import annotations

import json
import tempfile
import zipfile
from base64 import b64decode
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

from stsprune.viz import save_stages

NAME = "stsprune-explore.zip"


def write_download(document: dict[str, Any]) -> str:
    """Write a view (see `Explorer.view`) into a new temporary folder; the file's path."""
    folder = Path(tempfile.mkdtemp(prefix="stsprune-explore-"))
    target = folder / NAME
    pixels = _pixels(document["prompt"]["picture"]["source"])
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, column in enumerate(document["columns"], 1):
            if "error" not in column:
                picture = folder / f"{number}-{_plain(column['method'])}-{column['budget']}.png"
                _draw(picture, document["prompt"], column, pixels)
                archive.write(picture, picture.name)
                picture.unlink()
        archive.writestr("trace.json", json.dumps(told(document), indent=1, ensure_ascii=False))
    return str(target)


def told(document: dict[str, Any]) -> dict[str, Any]:
    """The view without the picture's pixels, with the versions that made it."""
    picture = {key: v for key, v in document["prompt"]["picture"].items() if key != "source"}
    versions = {name: version(name) for name in ("torch", "transformers")}
    return document | {"prompt": document["prompt"] | {"picture": picture}, "versions": versions}


def _draw(path: Path, prompt: dict[str, Any], column: dict[str, Any], pixels: Any) -> None:
    rows, columns = prompt["picture"]["grid"]
    stages = [
        (f"stage {number}: {stage['name']}", stage["cells"])
        for number, stage in enumerate(column["stages"], 1)
    ]
    cost = f"{column['average']:.0f} of {prompt['tokens']} visual tokens per layer"
    head = f"{column['method']}: {column['answer']}  ·  unpruned: {prompt['answer']}  ·  {cost}"
    save_stages(path, pixels, stages, (rows, columns), title=prompt["question"], subtitle=head)


def _pixels(source: str) -> Any:
    import numpy as np
    from PIL import Image

    return np.asarray(Image.open(BytesIO(b64decode(source.partition(",")[2]))).convert("RGB"))


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() or c == "-" else "_" for c in name)
