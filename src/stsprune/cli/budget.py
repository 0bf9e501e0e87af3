"""Reading `--budget`."""

from __future__ import annotations

from stsprune.errors import InvalidArgumentError


def parse_budget(text: str) -> int | float:
    """'64' -> 64 tokens; '0.25' -> a quarter of the image's tokens.

    Raises InvalidArgumentError for anything but an int >= 1 or a fraction in (0, 1].
    """
    try:
        budget: int | float = int(text)
        fine = budget >= 1
    except ValueError:
        try:
            budget = float(text)
        except ValueError:
            budget = 0.0
        fine = 0 < budget <= 1
    if not fine:
        raise InvalidArgumentError(
            f"budget must be a number of tokens >= 1 or a fraction in (0, 1], got {text!r}"
        )
    return budget


def token_budgets(text: str, tokens: int) -> list[int]:
    """'48,0.25' for images of `tokens` -> [48, 36]; fractions are rounded down.

    Raises InvalidArgumentError as `parse_budget` does.
    """
    parsed = [parse_budget(one.strip()) for one in text.split(",")]
    return [one if isinstance(one, int) else max(1, int(one * tokens)) for one in parsed]


def whole_numbers(name: str, text: str) -> tuple[int, ...]:
    """'1,8' -> (1, 8). Raises InvalidArgumentError."""
    try:
        return tuple(int(one) for one in text.split(","))
    except ValueError:
        raise InvalidArgumentError(
            f"{name} must be whole numbers with commas, got {text!r}"
        ) from None
