"""`stsprune eval`: accuracy of methods at budgets on SceneQA."""

from __future__ import annotations

import inspect
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from .budget import parse_budget
from .output import print_json, print_table
from .quiet import quiet_transformers


def evaluate(
    split: Annotated[str, typer.Option(help="validation or test.")] = "test",
    scenes: Annotated[int, typer.Option(min=1, help="Pictures, eight questions each.")] = 300,
    method: Annotated[str, typer.Option(help="Names, with commas.")] = "sts,random",
    budget: Annotated[str, typer.Option(help="Tokens or fractions, with commas.")] = "48,36,32,16",
    seeds: Annotated[int, typer.Option(min=1, help="Runs of methods with a seed.")] = 3,
    positions: Annotated[str, typer.Option(help="original or compact.")] = "original",
    out: Annotated[Path | None, typer.Option(help="Also write JSON here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure how often the embedded model answers right, pruned and unpruned."""
    from rich.console import Console
    from rich.progress import Progress

    import stsprune
    from stsprune.checkpoints import load_checkpoint
    from stsprune.errors import InvalidArgumentError
    from stsprune.evaluation import blind_row, load_items, method_row

    from .pick import pick_method

    if split not in ("validation", "test"):
        raise InvalidArgumentError(f"split must be validation or test, got {split!r}")
    budgets = [parse_budget(text) for text in budget.split(",")]
    quiet_transformers()
    model, processor = load_checkpoint()
    grid = model.config.vision_config.image_size // model.config.vision_config.patch_size
    whole = grid * grid
    tokens = [b if isinstance(b, int) else max(1, int(b * whole)) for b in budgets]
    jobs: list[tuple[str, list[Any]]] = [("unpruned", [None])]
    for name in method.split(","):
        for count in tokens:
            made = pick_method(name, count)
            seeded = "seed" in inspect.signature(type(made)).parameters
            kind = type(made)
            jobs.append((name, [kind(count, seed=s) for s in range(seeds)] if seeded else [made]))
    for method_at_budget in (variants[0] for _, variants in jobs[1:]):
        with stsprune.prune(model, method_at_budget, positions=positions):
            pass  # bad settings show before any work is done
    items = load_items(split, scenes, grid=grid)
    rows = [blind_row(items, grid)]
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("answering", total=len(items) * sum(len(v) for _, v in jobs))
        for name, variants in jobs:
            rows.append(
                method_row(
                    model,
                    processor,
                    items,
                    name,
                    variants,
                    positions,
                    lambda n: bar.advance(task, n),
                )
            )
    document = {
        "split": split,
        "scenes": scenes,
        "questions": len(items),
        "visual_tokens": whole,
        "positions": positions,
        "rows": [asdict(row) for row in rows],
    }
    if out is not None:
        _write(out, document)
    if as_json:
        print_json(document)
        return
    families = list(rows[0].accuracy)
    print_table(
        f"SceneQA {split}: {len(items)} questions, accuracy in %",
        ["method", "#budget", *(f"#{name}" for name in families)],
        [
            [r.name, "" if r.budget is None else str(r.budget)]
            + [f"{100 * r.accuracy[name]:.1f}" for name in families]
            for r in rows
        ],
    )


def _write(path: Path, document: dict[str, Any]) -> None:
    import json

    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".tmp")
    fresh.write_text(json.dumps(document, indent=1) + "\n")
    os.replace(fresh, path)
