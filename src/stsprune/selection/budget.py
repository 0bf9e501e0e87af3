"""Budgets: the average number of visual tokens per decoder layer, the field's fair measure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stsprune.errors import InvalidArgumentError, InvalidTypeError

from .plain import plain_int, plain_number


def check_budget(budget: Any, name: str = "budget") -> int | float:
    """An int >= 1 (tokens) or a float in (0, 1] (fraction of an image's tokens), as a builtin one.

    numpy's numbers are budgets too. Raises InvalidTypeError or InvalidArgumentError.
    """
    number = plain_number(budget)
    if number is None:
        raise InvalidTypeError(
            f"{name} must be an int >= 1 or a float in (0, 1], got {budget!r}, a "
            f"{type(budget).__name__}"
        )
    if not _in_range(number):
        raise InvalidArgumentError(
            f"{name} must be an int >= 1 (tokens) or a float in (0, 1] (fraction), got {number!r}"
        )
    return number


def read_budget(text: str, name: str = "budget") -> int | float:
    """'64' -> 64 tokens; '0.25' -> a quarter of the image's tokens; `name` is for the error.

    Raises InvalidArgumentError for anything but an int >= 1 or a fraction in (0, 1].
    """
    number: int | float
    try:
        number = int(text)
    except ValueError:
        try:
            number = float(text)
        except ValueError:
            number = 0
    if not _in_range(number):
        raise InvalidArgumentError(
            f"{name} must be a number of visual tokens per image >= 1 or a fraction in (0, 1], "
            f"got {text!r}"
        )
    return number


def _in_range(number: int | float) -> bool:
    return number >= 1 if isinstance(number, int) else 0 < number <= 1


def check_total(total: Any) -> int | None:
    """`budget_total` as a builtin int >= 1 or None. Raises as `check_budget` does."""
    if total is None:
        return None
    number = plain_int(total)
    if number is None:
        raise InvalidTypeError(
            f"budget_total must be None or an int >= 1, got {total!r}, a {type(total).__name__}"
        )
    if number < 1:
        raise InvalidArgumentError(f"budget_total must be None or >= 1, got {number}")
    return number


def measured_budgets(budgets: Sequence[Any], tokens: int, name: str = "budget") -> list[int]:
    """Budgets to compare methods at, on images of `tokens`, as builtin ints in 1..`tokens`.

    A budget is an upper bound elsewhere. Here it names a measurement, and one above `tokens` would
    name the unpruned model. Raises InvalidArgumentError.
    """
    numbers = []
    for budget in budgets:
        number = plain_int(budget)
        if number is None or not 1 <= number <= tokens:
            raise InvalidArgumentError(
                f"{name} must be at most {tokens}, the image's visual tokens, and at least 1, "
                f"got {budget!r}"
            )
        numbers.append(number)
    return numbers


def budget_tokens(budget: int | float, tokens: int) -> float:
    """The budget in tokens for an image of `tokens`: at least 1, at most `tokens`.

    An int budget is an upper bound: pictures differ in size, and a small one keeps all it has.
    """
    budget = check_budget(budget)
    if isinstance(budget, int):
        return float(min(budget, tokens))
    return max(1.0, budget * tokens)


def kept_tokens(budget: int | float, tokens: int) -> int:
    """`budget_tokens` in whole tokens, rounded down."""
    return int(budget_tokens(budget, tokens))


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
