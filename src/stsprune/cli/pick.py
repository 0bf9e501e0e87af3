"""Reading `--method`."""

from __future__ import annotations

from typing import Any

from stsprune.errors import InvalidArgumentError

UNPRUNED = "none"


def pick_method(name: str, budget: int | float) -> Any:
    """The method of that name at that budget; None for "none".

    Raises InvalidArgumentError for an unknown name.
    """
    from stsprune.method import methods

    if name == UNPRUNED:
        return None
    known = methods()
    if name not in known:
        allowed = ", ".join([*sorted(known), UNPRUNED])
        raise InvalidArgumentError(f"method must be one of {allowed}, got {name!r}")
    return known[name](budget=budget)
