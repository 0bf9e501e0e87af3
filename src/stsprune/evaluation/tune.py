"""Choose STS's defaults on the validation split: `python -m stsprune.evaluation.tune --out FILE`.

A coordinate search, small enough for a laptop: first the repulsion's settings without a semantic
stage, then layer, ratio and query rule with the best of them. Every trial is kept in the file, and
trials that it already holds are not run again.
"""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from ..embedded import load_embedded
from ..method import STS
from .sceneqa import accuracy, answers, load_items

REPULSION = {"space": (0.0, 0.1, 0.3), "exponent": (1.0, 2.0, 4.0)}
FILTER = {"layer": (1, 2, 3, 4, 5), "ratio": (1.15, 1.25, 1.5, 2.0), "queries": ("last", "all")}


def main(
    out: Annotated[Path, typer.Option(help="JSON file of trials; resumed when it exists.")],
    scenes: Annotated[int, typer.Option(min=1)] = 60,
    budgets: Annotated[str, typer.Option(help="Tokens, with commas.")] = "36,16",
) -> None:
    """Search on validation scenes; the best setting has the highest mean over the budgets."""
    model, processor = load_embedded()
    items = load_items("validation", scenes)
    tokens = [int(text) for text in budgets.split(",")]
    trials: list[dict[str, Any]] = json.loads(out.read_text()) if out.exists() else []

    def mean_accuracy(settings: dict[str, Any]) -> float:
        scores = []
        for budget in tokens:
            trial = {"scenes": scenes, "budget": budget, **settings}
            known = [t for t in trials if {k: v for k, v in t.items() if k != "accuracy"} == trial]
            if not known:
                given = answers(model, processor, items, STS(budget, **settings))
                known = [{**trial, "accuracy": round(accuracy(items, given)["all"], 4)}]
                trials.extend(known)
                _write(out, trials)
                print(json.dumps(known[0]), flush=True)
            scores.append(known[0]["accuracy"])
        return sum(scores) / len(scores)

    stage_one = [{**s, "semantics": False} for s in _grid(REPULSION)]
    best = {k: v for k, v in max(stage_one, key=mean_accuracy).items() if k != "semantics"}
    both = max(({**best, **s} for s in _grid(FILTER)), key=mean_accuracy)
    print("best:", json.dumps(both), f"mean accuracy {mean_accuracy(both):.4f}")


def _grid(options: dict[str, tuple[Any, ...]]) -> list[dict[str, Any]]:
    values = itertools.product(*options.values())
    return [dict(zip(options, combination, strict=True)) for combination in values]


def _write(path: Path, trials: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".tmp")
    fresh.write_text("[\n" + ",\n".join(" " + json.dumps(t) for t in trials) + "\n]\n")
    os.replace(fresh, path)


if __name__ == "__main__":
    typer.run(main)
