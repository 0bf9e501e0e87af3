"""A small evaluation's document, made up, with every key that a real one has."""

from __future__ import annotations

from typing import Any

FAMILIES = ["colour", "count"]


def make_row(name: str, budget: int | None, mean: float, **more: Any) -> dict[str, Any]:
    interval = [mean, mean - 0.02, mean + 0.02]
    names = ("mean", "all", *FAMILIES)
    kept = budget or 144
    row: dict[str, Any] = {
        "name": name,
        "budget": budget,
        "runs": 1,
        "settings": {} if budget is None else {"layer": 2},
        "accuracy": {family: list(interval) for family in names},
        "relative": mean / 0.8,
        "agreement": 0.9,
        "kl": 0.1,
        "seconds": 0.004,
        "selection": 0.001,
        "speed": 1.5,
        "tokens_per_layer": [kept] * 4,
        "flops": 1e6 * kept,
        "kv_bytes": 1000 * kept,
    }
    if budget is not None:
        figures = {"rank": kept / 3, "redundancy": 0.7, "energy": 1.0, "hole": 2.0}
        figures |= {"covered": 0.8, "recall": 0.5, "found": 0.6, "kept": kept}
        row |= {"first": dict(figures), "middle": dict(figures), "entropy": 0.7}
    if budget is not None and name != "sts":
        test = {"wins": 30, "losses": 10, "p": 0.001, "p_holm": 0.004}
        row["against"] = {**test, "families": {family: dict(test) for family in FAMILIES}}
    return row | more


def make_document(rows: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    budgets = sorted({row["budget"] for row in rows if row["budget"]}, reverse=True)
    return {
        "split": "validation",
        "scenes": 50,
        "positions": "original",
        "made_by": "ab" * 32,
        "questions": 400,
        "families": FAMILIES,
        "visual_tokens": 144,
        "layers": 4,
        "budgets": budgets,
        "blind": {name: [0.4, 0.38, 0.42] for name in ("mean", "all", *FAMILIES)},
        "ablations": ["structure-only", "attention-only"],
        "rows": rows,
        "refused": [],
        "command": "stsprune eval --split validation",
        "versions": {"stsprune": "0.1.0"},
    } | more
