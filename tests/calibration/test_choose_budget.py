"""The search, on outcomes that are known: the smallest budget, verified, and up where it must."""

from __future__ import annotations

import math

import pytest

from stsprune.calibration.choose import HELD_OUT, SEARCH, choose
from stsprune.calibration.interval import exact_interval
from stsprune.calibration.lines import Line, budget_line, ladder, potential_line
from stsprune.calibration.measure import Outcome
from stsprune.calibration.search import smallest
from stsprune.errors import InvalidArgumentError
from stsprune.method import STS

TOKENS, DEPTH = 144, 8


class Known:
    """Prompts that need a number of tokens each to be answered as ever; half by half."""

    def __init__(self, *needs, whole=1.0, cheaper=None):
        self.needs, self.whole, self.cheaper = needs, whole, cheaper
        self.asked = []

    def measure(self, half, methods):
        self.asked += [(half, repr(one)) for one in methods]
        return [
            [Outcome(self.holds(n, one), 1.0, 0.0) for n in self.needs[half]] for one in methods
        ]

    def holds(self, need, method):
        if isinstance(method.budget, float):
            return self.whole >= 1.0
        return method.budget * (self.cheaper(method) if self.cheaper else 1) >= need

    def visual_tokens(self):
        return [TOKENS]


def chosen(known, target=0.97, wide=False):
    return choose(known, "sts", {}, target, DEPTH, TOKENS, wide)


@pytest.mark.parametrize("target", [0.5, 0.9, 0.97, 1.0])
def test_the_smallest_that_does(target):
    needs = list(range(1, 101))
    choice = chosen(Known(needs, needs), target)
    least = next(one for one in ladder(TOKENS) if one >= 100 * target)
    assert choice.method.budget == least
    assert not choice.refuted


def test_the_other_half_sends_it_up():
    easy, hard = [10] * 100, [10] * 90 + [20] * 10
    known = Known(easy, hard)
    choice = chosen(known)
    assert choice.method.budget == 21
    assert [one.budget for one in choice.refuted] == [10, 11, 12, 13, 14, 15, 17, 18, 19]
    assert chosen(Known(hard, easy)).method.budget == 21


def test_everything_where_nothing_less_does():
    assert chosen(Known([140] * 50, [140] * 50)).method.budget == 1.0


def test_a_model_that_is_not_deterministic():
    known = Known([1] * 50, [1] * 50, whole=0.0)
    with pytest.raises(InvalidArgumentError, match=r"target must be one that .* not determin"):
        chosen(known)
    assert len(known.asked) == 1


def test_other_settings_win_by_fewer_tokens():
    better = Known([20] * 50, [20] * 50, cheaper=lambda one: 1.6 if one.space == 0.6 else 1.0)
    choice = chosen(better, wide=True)
    assert (choice.method.space, choice.method.budget) == (0.6, 13)
    assert choice.tried[0].space == STS(1).space
    assert (SEARCH, repr(choice.line.steps[-1])) in better.asked  # the curve is whole
    same = Known([20] * 50, [20] * 50)
    assert chosen(same, wide=True).method == chosen(same).method


class Following(Known):
    """Half of the pictures need `plain` tokens, half `rich` ones.

    A potential p gives each e^(p / 2) tenths of its need, or e^(p / 2) tokens to all.
    """

    def __init__(self, plain, rich, follows=True):
        needs = [plain] * 50 + [rich] * 50
        super().__init__(needs, needs)
        self.follows = follows

    def measure(self, half, methods):
        self.asked += [(half, repr(one)) for one in methods]
        return [[self.outcome(need, one) for need in self.needs[half]] for one in methods]

    def outcome(self, need, method):
        given = TOKENS if isinstance(method.budget, float) else method.budget
        if method.potential is not None:
            size = math.exp(method.potential / 2)
            given = min(TOKENS, size * (need / 10 if self.follows else 1))
        return Outcome(given >= need, 1.0, 0.0, given)


def test_a_budget_that_follows_the_picture_wins_by_fewer_tokens():
    wide = Following(10, 40)
    choice = chosen(wide, wide=True)
    assert choice.method.potential == pytest.approx(2 * math.log(10), abs=0.2)
    assert choice.method.budget == 1.0
    assert 40 <= choice.tried[-1].budget < 40 * 1.08
    assert choice.line.steps[-1] == STS(1.0)
    assert not [one for half, one in wide.asked if half == HELD_OUT and "potential=None" in one]


def test_one_that_follows_nothing_does_not():
    for needs in (Following(10, 40, follows=False), Following(20, 20)):
        choice = chosen(needs, wide=True)
        assert choice.method.potential is None
        assert choice.method == chosen(needs).method


def test_without_the_search_no_potential_is_tried():
    wide = Following(10, 40)
    assert chosen(wide).method.potential is None
    assert all("potential=None" in one for _, one in wide.asked)


def test_methods_without_a_potential():
    assert potential_line("grid", {}) is None
    assert potential_line("swapped", {}) is None
    line = potential_line("sts", {"space": 0.5})
    assert {one.space for one in line.steps} == {0.5}


def test_any_line_of_methods_will_do():
    line = Line("two", (STS(4), STS(9), STS(1.0)))
    agreement = lambda methods: [0.5 + 0.2 * line.steps.index(one) for one in methods]  # noqa: E731
    assert smallest(line, [2], agreement, 0.65) == 1
    assert smallest(line, [2], agreement, 0.95) is None


def test_ladders():
    fixed, shares = ladder(TOKENS), ladder(None)
    assert fixed[0] == 1
    assert fixed[-1] == shares[-1] == 1.0
    assert fixed[:-1] == sorted(set(fixed[:-1]))
    assert shares == sorted(shares)
    assert all(0 < one <= 1 for one in shares)
    with pytest.raises(InvalidArgumentError, match="layer must be in"):
        budget_line("sts", {"layer": 99}, fixed[:-1], [TOKENS], DEPTH)
    filtered = budget_line("fastv", {}, fixed, [TOKENS], DEPTH)
    assert filtered.steps[0].budget > 1  # what the method cannot reach is left out


def test_exact_intervals():
    """Clopper and Pearson's, against their closed forms and a published table."""
    for of in (1, 20, 200):
        low, high = exact_interval(of, of)
        assert high == 1
        assert low == pytest.approx(0.025 ** (1 / of), abs=1e-9)
        assert exact_interval(0, of) == (0, pytest.approx(1 - low, abs=1e-9))
    assert exact_interval(8, 10) == (
        pytest.approx(0.4439, abs=1e-4),
        pytest.approx(0.9748, abs=1e-4),
    )


def test_halves_are_named():
    known = Known([10] * 50, [10] * 50)
    chosen(known)
    assert known.asked[0][0] == SEARCH
    assert (HELD_OUT, repr(STS(10))) in known.asked
