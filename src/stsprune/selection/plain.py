"""Numbers as a caller may hand them over, numpy's too, as builtin ones: plain in repr and JSON."""

from __future__ import annotations

from numbers import Integral, Real


def plain_int(value: object) -> int | None:
    """A whole number as an int; None for everything else: bools, floats, text, tensors, arrays."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    return int(value) if whole else None  # type: ignore[call-overload]


def plain_number(value: object) -> int | float | None:
    """As `plain_int`; other real numbers as a float."""
    if isinstance(value, Real) and not isinstance(value, Integral):
        return float(value)
    return plain_int(value)
