"""Reading an evaluation's document: rows by method and budget, and which methods stand out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any, TypedDict

Row = dict[str, Any]


class _Rows(TypedDict):
    """What every document has.

    visual_tokens: of an image; layers: of the decoder; rows: one per method and budget, see
    `evaluation.summary.summarise`.
    """

    split: str
    scenes: int
    questions: int
    visual_tokens: int
    layers: int
    rows: list[Row]


class Document(_Rows, total=False):
    """What `stsprune eval` writes as summary.json; an older one may lack some of it.

    blind: family -> [mean, low, high] of guesses without the picture; refused: name, budget and
    reason; ablations: names; made_by: fingerprint of code and weights; without: STS's lead with
    each family left out.
    """

    families: list[str]
    blind: dict[str, list[float]]
    refused: list[dict[str, Any]]
    ablations: list[str]
    benchmark: str
    without: list[dict[str, Any]]
    positions: str
    made_by: str
    versions: dict[str, str]
    command: str


#: The method that the others are tested against, and the two that show what the encoder's
#: attention alone and repulsion alone keep.
MAIN, ATTENTION, STRUCTURE = "sts", "attention-only", "structure-only"
OVERALL = "mean"
LEVEL = 0.05  # of a test that is called significant


def pruned(document: Document) -> list[Row]:
    """Rows with a budget, in the document's order."""
    return [row for row in document["rows"] if row["budget"] is not None]


def unpruned(document: Document) -> Row | None:
    """The model as it is."""
    return next((row for row in document["rows"] if row["budget"] is None), None)


def budgets(document: Document) -> list[int]:
    """Budgets that any method reached, the largest first."""
    return sorted({row["budget"] for row in pruned(document)}, reverse=True)


def middle(document: Document) -> int:
    """The budget that stands for the others where one is shown."""
    known = sorted(budgets(document))
    return known[len(known) // 2]


def curve(document: Document, name: str) -> list[Row]:
    """A method's rows, the largest budget first."""
    return sorted(
        (row for row in pruned(document) if row["name"] == name), key=lambda row: -row["budget"]
    )


def row_of(document: Document, name: str, budget: int | None) -> Row | None:
    """A method's row at a budget."""
    rows = document["rows"]
    return next((row for row in rows if (row["name"], row["budget"]) == (name, budget)), None)


def methods(document: Document) -> list[str]:
    """Names of the methods, in the document's order."""
    return list(dict.fromkeys(row["name"] for row in pruned(document)))


def ablations(document: Document) -> list[str]:
    """Methods that are a part or a variant of STS; attention alone is among them."""
    return [name for name in methods(document) if name in document.get("ablations", ())]


def baselines(document: Document) -> list[str]:
    """Methods that are neither STS nor a variant of it; attention alone is one (FasterVLM)."""
    parts = set(ablations(document)) - {ATTENTION}
    return [name for name in methods(document) if name not in parts | {MAIN}]


def leaders(document: Document, count: int = 3) -> list[str]:
    """The baselines that come nearest to the best one, averaged over the budgets they reach."""
    best = {
        budget: max(map(accuracy, group))
        for budget in budgets(document)
        if (group := [r for n in baselines(document) if (r := row_of(document, n, budget))])
    }
    short = {
        name: fmean(best[row["budget"]] - accuracy(row) for row in curve(document, name))
        for name in baselines(document)
    }
    return sorted(short, key=lambda name: short[name])[:count]


def accuracy(row: Row, family: str = OVERALL) -> float:
    """Mean over the seeds, in [0, 1]."""
    return float(row["accuracy"][family][0])


def number(row: Row | None, *path: str) -> float | None:
    """A figure of a row, None where it is missing or not finite."""
    value: Any = row
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def apart(values: Sequence[float], gap: float) -> list[float]:
    """Places near `values`, at least about `gap` from each other, in the same order."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    blocks: list[tuple[float, int]] = []  # (mean of value - rank * gap, members)
    for rank, i in enumerate(order):
        blocks.append((values[i] - rank * gap, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, m), (b, n) = blocks.pop(-2), blocks.pop()
            blocks.append(((a * m + b * n) / (m + n), m + n))
    free = [mean for mean, size in blocks for _ in range(size)]
    out = [0.0] * len(values)
    for rank, i in enumerate(order):
        out[i] = free[rank] + rank * gap
    return out
