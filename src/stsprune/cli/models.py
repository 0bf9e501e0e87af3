"""`stsprune models`: what can be pruned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from .terminal import print_json, print_table

TAIL = "ForConditionalGeneration"
BOTH = "both oracles"


def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    every: Annotated[
        bool,
        typer.Option("--all", help="All image-text classes of the installed transformers."),
    ] = False,
) -> None:
    """List the model families, and the model that ships with the package."""
    from stsprune.engine.families import FAMILIES, REGISTERED
    from stsprune.engine.families.grids import GRIDS
    from stsprune.engine.families.squares import SQUARES
    from stsprune.engine.families.views import VIEWS

    if every:
        _print_all(as_json)
        return
    embedded = _embedded()
    families = [_facts(name, family) for name, family in (FAMILIES | REGISTERED).items()]
    more = {family.name for family in (*GRIDS, *SQUARES, *VIEWS)}
    if as_json:
        print_json([embedded, *families])
        return
    keys = ("family", "class", "takes", "stages", "proven")
    # The tail that all classes share would crowd a narrow terminal.
    shown = [row for row in families if row["family"] not in more]
    rows = [[row[key].removesuffix(TAIL) for key in keys] for row in shown]
    columns = ["family", f"class (..{TAIL})", "takes", "stages", "proven by"]
    print_table("models", columns, rows)
    typer.echo(
        "both oracles: logits of the prompt and of every decode step equal the same model's\n"
        "with the dropped tokens masked, and its layers' called by hand on the kept ones\n"
        "(tests/engine/test_families.py). Why the others are not here: stsprune models --all."
    )
    typer.echo(f"proven alike: {', '.join(sorted(more))}")
    typer.echo(f"ask --model embedded: {embedded['about']}")
    typer.echo("ask --model FOLDER or a hub id: any of the classes above, safetensors only")
    typer.echo("ask --family generic: a class that is not here, checked on its first prompt")


def _facts(name: str, family: Any) -> dict[str, Any]:
    """A line of the table; a test holds the package's families equal to what is proven."""
    positions = "original, compact" if family.rotary_axes < 2 else "original"
    return {
        "family": family.name,
        "class": name,
        "takes": ", ".join(f"{kind}s" for kind in family.modalities),
        "stages": "structure, semantics",
        "positions": positions,
        "proven": BOTH if family.proven else "its first prompt",
    }


def _print_all(as_json: bool) -> None:
    """Every class with a verdict; which family an unproven one is nearest to."""
    import transformers

    from stsprune.engine.families import FAMILIES
    from stsprune.engine.families.verdicts import UNREAD, VERDICTS, Verdict, listed

    rows = []
    for name, kind in listed().items():
        if name in FAMILIES:
            verdict, nearest = f"proven by {BOTH}", FAMILIES[name].name
        else:
            known = VERDICTS.get(name, Verdict(UNREAD))
            verdict, nearest = known.why, known.nearest
        proven = name in FAMILIES
        row = {"type": kind, "class": name, "proven": proven, "verdict": verdict}
        rows.append(row | {"family": nearest})
    if as_json:
        print_json(rows)
        return
    count = sum(bool(row["proven"]) for row in rows)
    title = f"transformers {transformers.__version__}: {count} of {len(rows)} classes proven"
    cells = [
        [str(row["class"]).removesuffix(TAIL), str(row["verdict"]), str(row["family"])]
        for row in rows
    ]
    print_table(title, [f"class (..{TAIL})", "verdict", "(nearest) family"], cells)


def _embedded() -> dict[str, Any]:
    """Read from the files, not from a loaded model."""
    from stsprune.embedded.load import WEIGHTS
    from stsprune.evaluation.runner import model_shape

    row: dict[str, Any] = {"name": "embedded", "about": "its weights are not in this installation"}
    if not (WEIGHTS / "config.json").exists():
        return row
    config = json.loads((WEIGHTS / "config.json").read_text())
    tokens, depth = model_shape()
    size = sum(path.stat().st_size for path in Path(WEIGHTS).glob("*.safetensors"))
    facts = {
        "visual_tokens": tokens,
        "decoder_layers": depth,
        "image_size": config["vision_config"]["image_size"],
        "megabytes": round(size / 1e6, 1),
    }
    about = (
        "ships with the package; {image_size} px, {visual_tokens} visual tokens, "
        "{decoder_layers} decoder layers, {megabytes} MB; knows the words of its scenes only"
    ).format(**facts)
    return row | {"about": about} | facts
