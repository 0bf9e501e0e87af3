"""`stsprune models`: what can be pruned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from .output import print_json, print_table


def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the models that `ask --model` takes."""
    from stsprune.engine.families import FAMILIES

    rows = [_embedded()]
    for name, family in FAMILIES.items():
        about = f"{family.name} as a folder or hub id in the transformers format, safetensors only"
        rows.append({"name": name, "about": about})
    if as_json:
        print_json(rows)
    else:
        print_table("models", ["name", "what it is"], [[r["name"], r["about"]] for r in rows])


def _embedded() -> dict[str, Any]:
    """Read from the files alone: listing must not wait for torch."""
    from stsprune.embedded.load import WEIGHTS

    row: dict[str, Any] = {"name": "embedded", "about": "its weights are not in this installation"}
    if not (WEIGHTS / "config.json").exists():
        return row
    config = json.loads((WEIGHTS / "config.json").read_text())
    vision, text = config["vision_config"], config["text_config"]
    side = vision["image_size"] // vision["patch_size"]
    size = sum(path.stat().st_size for path in Path(WEIGHTS).glob("*.safetensors"))
    facts = {
        "visual_tokens": side * side,
        "decoder_layers": text["num_hidden_layers"],
        "image_size": vision["image_size"],
        "megabytes": round(size / 1e6, 1),
    }
    about = (
        "ships with the package; {image_size} px, {visual_tokens} visual tokens, "
        "{decoder_layers} decoder layers, {megabytes} MB; knows the words of its scenes only"
    ).format(**facts)
    return row | {"about": about} | facts
