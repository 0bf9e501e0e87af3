"""Reading `--budget`."""

from __future__ import annotations

from stsprune.errors import InvalidArgumentError
from stsprune.selection.budget import kept_tokens, read_budget


def token_budgets(text: str, tokens: int) -> list[int]:
    """'48,0.25' for images of `tokens` -> [48, 36]; fractions are rounded down.

    Raises InvalidArgumentError as `read_budget` does.
    """
    parsed = [read_budget(one.strip()) for one in text.split(",")]
    return [one if isinstance(one, int) else kept_tokens(one, tokens) for one in parsed]


def whole_numbers(name: str, text: str) -> tuple[int, ...]:
    """'1,8' -> (1, 8). Raises InvalidArgumentError."""
    try:
        return tuple(int(one) for one in text.split(","))
    except ValueError:
        raise InvalidArgumentError(
            f"{name} must be whole numbers with commas, got {text!r}"
        ) from None
