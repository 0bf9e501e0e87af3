"""The smallest step of a line that meets a target."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..method import Method
from .lines import Line

#: Shares of the line's top at which the curve is drawn before the search goes between two of them.
SHARES = (1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32)

#: What measures methods: their agreement, in order.
Agreement = Callable[[Sequence[Method]], list[float]]


def first_look(line: Line, share: Callable[[Method], float]) -> list[int]:
    """Places on the line nearest to `SHARES`, ascending, the top among them.

    share: of everything that a method keeps.
    """
    shares = [share(candidate) for candidate in line.steps]
    places = {min(range(len(shares)), key=lambda i: abs(shares[i] - wanted)) for wanted in SHARES}
    return sorted(places | {len(shares) - 1})


def smallest(line: Line, looks: Sequence[int], agreement: Agreement, target: float) -> int | None:
    """The lowest place that meets the target, and all looked at above it; None where none does.

    Looks at `looks` (ascending, the top included) together and halves the gap between the lowest
    that holds and the one below. Agreement rises along a line but for noise.
    """
    seen = dict(zip(looks, agreement([line.steps[i] for i in looks]), strict=True))
    holds: int | None = None
    for place in reversed(looks):
        if seen[place] < target:
            break
        holds = place
    if holds is None:
        return None
    fails = max((place for place in looks if place < holds), default=-1)
    while holds - fails > 1:
        middle = (holds + fails) // 2
        if agreement([line.steps[middle]])[0] >= target:
            holds = middle
        else:
            fails = middle
    return holds
