"""Choosing: the smallest budget on one half of the prompts, verified on the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Protocol

from stsprune.errors import InvalidArgumentError

from ..method import Method, find_method
from ..recipes import settings_of
from .lines import STEP, Line, budget_line, ladder, planned_tokens, potential_line, variants
from .measure import Outcome
from .search import first_look, smallest

SEARCH, HELD_OUT = 0, 1


class Measures(Protocol):
    """What a choice needs of a `Measurer`."""

    def measure(self, half: int, methods: Sequence[Method]) -> list[list[Outcome]]:
        """Outcomes per method."""

    def visual_tokens(self) -> list[int]:
        """Tokens of every picture measured."""


@dataclass
class Choice:
    """A place on a line; tried: the best of other lines; refuted: what the other half did not
    bear out."""

    line: Line
    place: int
    tried: list[Method] = field(default_factory=list)
    refuted: list[Method] = field(default_factory=list)

    @property
    def method(self) -> Method:
        """The method chosen."""
        return self.line.steps[self.place]


def choose(
    measurer: Measures,
    name: str,
    settings: Mapping[str, Any],
    target: float,
    depth: int,
    tokens: int | None,
    wide: bool = False,
    begin: Callable[[str, int, Sequence[Method]], object] = lambda text, half, methods: None,
) -> Choice:
    """The method with the fewest tokens that meets the target on both halves.

    name, settings: of the line to search; tokens: of every image, None where they differ; wide:
    search other settings too, and a budget that follows the picture; begin: called before each
    measurement with what it is for.
    Raises InvalidArgumentError where not even a budget of everything meets the target.
    """

    def measure(text: str, half: int, methods: Sequence[Method]) -> list[float]:
        begin(text, half, methods)
        return [share(candidate) for candidate in measurer.measure(half, methods)]

    whole = find_method(name)(1.0, **settings)
    alike = measure("a budget of everything", SEARCH, [whole])[0]
    if alike < target:
        raise InvalidArgumentError(
            f"target must be one that a budget of all tokens meets, got {target:g}: unpruned "
            f"answers come back alike in {100 * alike:.1f} % only, the model or its rounding is "
            "not deterministic (try dtype float32 or batch 1)"
        )
    images = measurer.visual_tokens()
    line = budget_line(name, settings, ladder(tokens), images, depth)

    def share_kept(candidate: Method) -> float:
        return planned_tokens(candidate, images, depth) / fmean(images)

    looks = first_look(line, share_kept)
    place = smallest(line, looks, lambda methods: measure("budgets", SEARCH, methods), target)
    choice = Choice(line, len(line.steps) - 1 if place is None else place)
    if wide:
        _widen(choice, measure, name, settings, target, images, depth, ladder(tokens))
        if choice.line is not line:
            whole_curve = first_look(choice.line, share_kept)
            measure("the curve", SEARCH, [choice.line.steps[i] for i in whole_curve])
        _follow(choice, measurer, measure, name, target)
    _verify(choice, measure, target)
    return choice


def tokens(outcomes: Sequence[Outcome]) -> float:
    """Visual tokens per decoder layer and picture."""
    return fmean(outcome.visual for outcome in outcomes)


def share(outcomes: Sequence[Outcome]) -> float:
    """Of answers that are the unpruned ones."""
    return fmean(outcome.same for outcome in outcomes)


def _verify(
    choice: Choice, measure: Callable[[str, int, Sequence[Method]], list[float]], target: float
) -> None:
    """Go up the line until the held-out half meets the target, too.

    The search half met it below: that it still does would be asked of noise.
    """
    while True:
        alike = measure("the other half", HELD_OUT, [choice.method])[0]
        measure("the choice", SEARCH, [choice.method])  # for the record
        if alike >= target or choice.place == len(choice.line.steps) - 1:
            return
        choice.refuted.append(choice.method)
        choice.place += 1


def _widen(
    choice: Choice,
    measure: Callable[[str, int, Sequence[Method]], list[float]],
    name: str,
    settings: Mapping[str, Any],
    target: float,
    images: Sequence[int],
    depth: int,
    budgets: Sequence[int | float],
) -> None:
    """Other settings, round by round: one wins by meeting the target with fewer tokens."""
    best: dict[str, Any] = dict(settings)
    for number, options in enumerate(variants(name, depth), 1):
        needed = planned_tokens(choice.method, images, depth)
        below = []
        for option in options:
            try:
                line = budget_line(name, {**best, **option}, budgets, images, depth)
            except InvalidArgumentError:
                continue
            places = [
                i
                for i, candidate in enumerate(line.steps)
                if planned_tokens(candidate, images, depth) < needed / STEP**0.5
            ]
            if places:
                below.append((option, line, places[-1]))
        methods = [line.steps[place] for _, line, place in below]
        if not methods:
            continue
        seen = measure(f"other settings, round {number}", SEARCH, methods)
        winner = max(range(len(seen)), key=seen.__getitem__)
        if seen[winner] < target:
            continue
        choice.tried.append(choice.method)
        option, line, place = below[winner]
        best.update(option)
        looks = sorted({place, *range(place, -1, -max(1, len(line.steps) // 8))})
        lower = Line(line.name, line.steps[: place + 1])
        found = smallest(lower, looks, lambda methods: measure("budgets", SEARCH, methods), target)
        choice.line, choice.place = line, place if found is None else found


def _follow(
    choice: Choice,
    measurer: Measures,
    measure: Callable[[str, int, Sequence[Method]], list[float]],
    name: str,
    target: float,
) -> None:
    """A budget that follows the picture wins by meeting the target with fewer tokens."""
    settings = {key: value for key, value in settings_of(choice.method).items() if key != "budget"}
    line = potential_line(name, settings)
    if line is None or settings.get("potential") is not None:
        return

    def looked(method: Method) -> tuple[float, float]:
        alike = measure("budgets that follow the picture", SEARCH, [method])[0]
        return alike, tokens(measurer.measure(SEARCH, [method])[0])

    allowed = looked(choice.method)[1] / STEP**0.5
    fails, holds = -1, len(line.steps) - 1
    while holds - fails > 1:
        middle = (holds + fails) // 2
        alike, used = looked(line.steps[middle])
        if alike < target:
            fails = middle
            if used >= allowed:
                return  # those above take more still
        else:
            holds = middle
    if holds == len(line.steps) - 1 or looked(line.steps[holds])[1] >= allowed:
        return
    choice.tried.append(choice.method)
    choice.line, choice.place = line, holds
