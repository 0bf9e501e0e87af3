"""Candidates: lines of methods from the fewest tokens to the most."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from stsprune.errors import InvalidArgumentError

from ..method import STS, Method, find_method
from ..method.base import tokens_per_layer

#: A budget over the next smaller one.
STEP = 1.08
#: The smallest share of an image's tokens that is tried where images differ in size.
LEAST_SHARE = 0.01

#: log mu, about a twelfth of the tokens apart at the default exponent.
POTENTIALS = tuple(round(1 + step / 5, 1) for step in range(96))

MethodSettings = Mapping[str, Any]


@dataclass(frozen=True)
class Line:
    """Methods along which agreement should rise; the last one prunes nothing.

    Nothing else is asked of a candidate: a line of another quantity than the budget works as well.
    """

    name: str
    steps: tuple[Method, ...]


def ladder(tokens: int | None) -> list[int | float]:
    """Budgets, ascending, a twelfth apart; the last one is everything.

    tokens: of every image, None where images differ: shares then.
    """
    if tokens is None:
        shares, share = [1.0], 1 / STEP
        while share >= LEAST_SHARE:
            shares.append(round(share, 4))
            share /= STEP
        return list(reversed(shares))
    counts, count = {tokens}, float(tokens)
    while count > 1:
        count /= STEP
        counts.add(max(1, round(count)))
    return [*sorted(counts - {tokens}), 1.0]


def budget_line(
    name: str,
    settings: MethodSettings,
    budgets: Sequence[int | float],
    images: Sequence[int],
    depth: int,
) -> Line:
    """The method of that name at every budget that it reaches on images of `images` tokens.

    Raises InvalidArgumentError for settings that no budget can have.
    """
    kind, steps, reason = find_method(name), [], None
    for budget in budgets:
        try:
            made = kind(budget, **settings)
            for tokens in set(images):
                made.plan(tokens, depth)
        except InvalidArgumentError as error:
            reason = error
            continue
        steps.append(made)
    if not steps:
        raise InvalidArgumentError(f"method {name!r} reaches no budget here: {reason}")
    listed = ", ".join(f"{key} {value}" for key, value in settings.items())
    return Line(listed or "defaults", tuple(steps))


def potential_line(name: str, settings: MethodSettings) -> Line | None:
    """Budgets that follow the picture, from few tokens to all; None for methods without any."""
    kind = find_method(name)
    try:
        steps = [kind(1.0, **{**settings, "potential": one}) for one in POTENTIALS]
    except (TypeError, InvalidArgumentError):  # no such setting, or not with these
        return None
    return Line("potential", (*steps, kind(1.0, **{**settings, "potential": None})))


def variants(name: str, depth: int) -> list[list[MethodSettings]]:
    """Rounds of settings to try, each on top of the best of the rounds before."""
    rounds: Sequence[Mapping[str, Sequence[Any]]] = find_method(name).search
    if find_method(name) is STS:
        layers = sorted({max(0, min(depth - 2, depth * part // 8)) for part in (1, 2, 3)})
        rounds = (
            {"space": (0.1, 0.3, 0.6, 0.9, 0.97)},
            {"layer": layers, "ratio": (1.25, 1.625, 2.0)},
            {"withdraw": (None, 0.5, 0.625, 0.75)},
        )
    return [list(_grid(values)) for values in rounds]


def _grid(step: Mapping[str, Sequence[Any]]) -> Iterator[MethodSettings]:
    for values in itertools.product(*step.values()):
        yield dict(zip(step, values, strict=True))


def planned_tokens(method: Method, images: Sequence[int], depth: int) -> float:
    """Visual tokens per decoder layer, mean over images of `images` tokens."""
    return fmean(fmean(tokens_per_layer(method.plan(n, depth), n, depth)) for n in images)
