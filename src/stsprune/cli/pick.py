"""Reading `--method` and `--methods`."""

from __future__ import annotations

from typing import Any

UNPRUNED = "none"


def pick_method(name: str, budget: int | float) -> Any:
    """The method of that name at that budget; None for "none".

    Raises InvalidArgumentError for an unknown name.
    """
    from stsprune.method import find_method

    return None if name == UNPRUNED else find_method(name, UNPRUNED)(budget=budget)


def pick_names(text: str, ablations: bool = True) -> list[str]:
    """'sts, grid' -> ["sts", "grid"]; "all" is every method, with the ablations or without."""
    from stsprune.method import methods

    if text != "all":
        return [one.strip() for one in text.split(",")]
    return [name for name in methods() if ablations or not is_ablation(name)]


def is_ablation(name: str) -> bool:
    """Whether a known method is STS with something taken away or changed."""
    from stsprune.method import methods

    return methods()[name].ablation
