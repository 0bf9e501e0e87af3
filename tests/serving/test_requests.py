"""A budget of a request's own."""

import pytest

from stsprune.errors import InvalidArgumentError
from stsprune.serving.requests import budgets_of, entry, others, requested
from stsprune.serving.settings import ServingSettings


@pytest.mark.parametrize("budget", [1, 64, 0.25, 1.0])
def test_budgets_reach_the_model(budget):
    assert requested({"stsprune_budget": budget, "fps": 2}, 48) == budget
    found = budgets_of(entry(budget, 3), 3, 48)
    assert found == [budget] * 3
    assert type(found[0]) is type(budget)
    assert others({"stsprune_budget": budget, "fps": 2}) == {"fps": 2}


def test_none_of_its_own():
    assert requested({}, 48) == 48
    assert budgets_of(None, 2, 0.25) == [0.25, 0.25]


@pytest.mark.parametrize("budget", [0, -3, 1.5, 0.0, "64", None, True, [4], float("nan")])
def test_bad_budgets(budget):
    with pytest.raises(InvalidArgumentError, match="stsprune_budget must be"):
        requested({"stsprune_budget": budget}, 48)


def test_caches_tell_them_apart():
    settings = ServingSettings(48)
    assert settings.tag(48) == settings.tag()
    assert len({settings.tag(), settings.tag(1), settings.tag(1.0)}) == 3
