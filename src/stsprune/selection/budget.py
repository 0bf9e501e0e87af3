"""Budgets: the average number of visual tokens per decoder layer, the field's fair measure."""

from __future__ import annotations

import math

from stsprune.errors import InvalidArgumentError, InvalidTypeError


def check_budget(budget: int | float) -> None:
    """An int >= 1 (tokens) or a float in (0, 1] (fraction of an image's tokens)."""
    if isinstance(budget, bool) or not isinstance(budget, int | float):
        raise InvalidTypeError(f"budget must be an int >= 1 or a float in (0, 1], got {budget!r}")
    fine = budget >= 1 if isinstance(budget, int) else 0 < budget <= 1
    if not fine or not math.isfinite(budget):
        raise InvalidArgumentError(
            f"budget must be an int >= 1 (tokens) or a float in (0, 1] (fraction), got {budget!r}"
        )


def budget_tokens(budget: int | float, tokens: int) -> float:
    """The budget in tokens for an image of `tokens`; at least 1.

    Raises InvalidArgumentError where an int budget exceeds the image.
    """
    check_budget(budget)
    if isinstance(budget, int):
        if budget > tokens:
            raise InvalidArgumentError(
                f"budget must be at most {tokens}, the image's visual tokens, got {budget}"
            )
        return float(budget)
    return max(1.0, budget * tokens)


def split_budget(
    budget: float, tokens: int, depth: int, before: float, ratio: float
) -> tuple[int, int]:
    """(K1, K2) with K1 * before + K2 * (depth - before) <= budget * depth.

    K1 = ratio * budget tokens run through the first `before` decoder layers, K2 through the rest:
    the most that fits. Half a layer stands for one with as many tokens as lie between the two. K1
    shrinks where the ratio would leave nothing for K2, and never exceeds `tokens`.
    """
    after, total = depth - before, budget * depth
    first = min(tokens, round(ratio * budget), int((total - after) // before))
    first = max(first, 1)
    second = int((total - first * before) // after)
    return first, max(1, min(first, second))
