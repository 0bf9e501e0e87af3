"""Budgets: which numbers are one, what they become, and the one rule for small images."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
import torch

from stsprune.errors import InvalidArgumentError, InvalidTypeError
from stsprune.method import methods
from stsprune.method.base import layer_average
from stsprune.selection.budget import (
    budget_tokens,
    check_budget,
    check_total,
    kept_tokens,
    measured_budgets,
    read_budget,
)

INTEGERS = [kind(16) for kind in (int, np.int8, np.uint8, np.int32, np.int64, np.uint64)]
FLOATS = [kind(0.25) for kind in (float, np.float16, np.float32, np.float64, Fraction)]
NONE = [
    *(True, np.bool_(True), "16", b"16", None, 1j, [16]),
    *(torch.tensor(16), torch.tensor(0.5), torch.ones(3), np.array(16), np.array([0.5])),
]


def named(value):
    return f"{type(value).__name__}-{value}"


@pytest.mark.parametrize("budget", INTEGERS + FLOATS, ids=named)
def test_numbers(budget):
    plain = check_budget(budget)
    assert type(plain) is (int if budget == 16 else float)
    assert plain == budget


@pytest.mark.parametrize("name", methods())
@pytest.mark.parametrize("budget", [np.int64(100), np.float32(0.75)], ids=named)
def test_methods_hold_builtin_numbers(name, budget):
    made, plain = methods()[name](budget), methods()[name](budget.item())
    assert made == plain
    assert repr(made) == repr(plain)
    assert json.dumps(made.budget) == json.dumps(plain.budget)
    assert made.plan(144, 8) == plain.plan(144, 8)


@pytest.mark.parametrize("budget", NONE, ids=named)
def test_what_is_no_number(budget):
    with pytest.raises(InvalidTypeError, match=r"^budget must be an int >= 1 or .*, got "):
        check_budget(budget)
    with pytest.raises(InvalidTypeError, match="budget must be"):
        methods()["sts"](budget)
    if budget is not None:
        with pytest.raises(InvalidTypeError, match="budget_total must be None or an int >= 1"):
            check_total(budget)


@pytest.mark.parametrize(
    "budget",
    [0, -1, 0.0, -0.5, 1.5, float("nan"), float("inf"), np.int64(0), np.float32(1.5), np.nan],
    ids=named,
)
def test_what_is_out_of_range(budget):
    with pytest.raises(InvalidArgumentError, match="budget must be an int >= 1"):
        check_budget(budget)


def test_total():
    assert check_total(None) is None
    assert type(check_total(np.int64(3))) is int
    with pytest.raises(InvalidTypeError, match="budget_total"):
        check_total(0.5)
    with pytest.raises(InvalidArgumentError, match="budget_total must be None or >= 1, got 0"):
        check_total(np.int64(0))


@pytest.mark.parametrize("tokens", [1, 9, 25])
@pytest.mark.parametrize("budget", [25, 26, 10**400, np.int64(99), 1.0], ids=lambda b: str(b)[:9])
def test_a_budget_is_an_upper_bound(budget, tokens):
    assert budget_tokens(budget, tokens) == tokens
    assert kept_tokens(budget, tokens) == tokens


@pytest.mark.parametrize("name", methods())
def test_an_image_below_the_budget_is_not_planned(name):
    plan = methods()[name](1000).plan(30, 12)
    assert plan.structure is None
    assert plan.semantics == ()


def test_fractions_keep_a_token():
    assert budget_tokens(0.25, 30) == 7.5
    assert kept_tokens(0.25, 30) == 7
    assert budget_tokens(0.01, 30) == kept_tokens(0.01, 30) == 1


def test_measured():
    made = measured_budgets([np.int64(25), 1], 25)
    assert made == [25, 1]
    assert {type(one) for one in made} == {int}
    for wrong in (26, 0, 0.5, True, "9"):
        with pytest.raises(InvalidArgumentError, match=r"budgets must be at most 25, .* got"):
            measured_budgets([9, wrong], 25, "budgets")


@pytest.mark.parametrize(("text", "budget"), [("64", 64), (" 1 ", 1), ("1.0", 1.0), ("5e-1", 0.5)])
def test_text(text, budget):
    assert read_budget(text) == budget
    assert type(read_budget(text)) is type(budget)


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "nan", "inf", "1e400", "many", "6 4"])
def test_text_that_is_no_budget(text):
    with pytest.raises(InvalidArgumentError, match=f"^NAME must be .*, got '{text}'$"):
        read_budget(text, "NAME")


@pytest.mark.parametrize(
    ("drops", "average"),
    [
        ([], 40),
        ([(-1, 20)], 20),
        ([(0, 10)], (40 + 3 * 10) / 4),
        ([(-1, 20), (1, 10), (2, 2)], (20 + 20 + 10 + 2) / 4),
        ([(3, 1)], 40),  # there is no layer behind the last
    ],
)
def test_layer_average(drops, average):
    assert layer_average(drops, 40, 4) == average
