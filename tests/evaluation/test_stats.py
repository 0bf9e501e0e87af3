"""Intervals and tests against what can be counted by hand."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest

from stsprune.evaluation.stats import bootstrap_interval, holm, mcnemar


def test_mcnemar_by_hand():
    first = [True] * 9 + [False] * 1 + [True] * 5
    second = [False] * 9 + [True] * 1 + [True] * 5
    wins, losses, p = mcnemar(first, second)
    assert (wins, losses) == (9, 1)
    assert p == pytest.approx(2 * (comb(10, 0) + comb(10, 1)) / 2**10)


def test_mcnemar_without_a_difference_proves_nothing():
    assert mcnemar([True, False], [True, False]) == (0, 0, 1.0)
    assert mcnemar([True, False], [False, True])[2] == 1.0


def test_mcnemar_of_thousands_does_not_overflow():
    wins, losses, p = mcnemar([True] * 3000, [False] * 3000)
    assert (wins, losses) == (3000, 0)
    assert 0 <= p < 1e-300


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_interval_of_independent_values_is_the_textbook_one():
    values = np.random.default_rng(1).random(400) < 0.8
    low, high = bootstrap_interval(values, range(400), [range(400)])
    mean, half = values.mean(), 1.96 * values.std() / 20
    assert low == pytest.approx(mean - half, abs=0.01)
    assert high == pytest.approx(mean + half, abs=0.01)


def test_interval_draws_whole_clusters():
    """Ten copies of each answer tell no more than one."""
    rare = np.random.default_rng(2).random(40) < 0.5
    alone = bootstrap_interval(rare, range(40), [range(40)])
    copied = bootstrap_interval(np.repeat(rare, 10), np.repeat(range(40), 10), [range(400)])
    assert copied == pytest.approx(alone, abs=1e-9)


def test_interval_over_groups_weighs_them_alike_and_stays_inside():
    values, clusters = [1.0] * 90 + [0.0] * 10, [*range(90), *range(10)]
    low, high = bootstrap_interval(values, clusters, [range(90), range(90, 100)])
    assert low == high == 0.5
