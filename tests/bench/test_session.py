"""Rounds: turns, time limit, interruption, resumption."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from stsprune.bench import geometry, session
from stsprune.bench.contest import LIMIT, Contestant
from stsprune.errors import InvalidArgumentError, UnsupportedModeError

SETUP = session.Comparison(
    model="geometry:tiny",
    device="cpu",
    dtype="float32",
    attention="auto",
    layers=None,
    methods=("sts", "fastv"),
    budgets=(12, 3),
    batches=(1,),
    new_tokens=2,
)
MACHINE = {"device": "a processor", "torch": "2.0"}
#: FastV keeps all tokens of the first layer, so 3 of 36 on average are out of its reach.
EVERYBODY = [
    ("unpruned", None),
    ("floor", 12),
    ("sts", 12),
    ("fastv", 12),
    (LIMIT, 12),
    ("floor", 3),
    ("sts", 3),
    (LIMIT, 3),
]


def test_numpy_budgets_are_written_as_builtin_ones():
    numpy = replace(SETUP, budgets=tuple(np.array(SETUP.budgets)))
    assert numpy == SETUP
    assert numpy.as_json() == SETUP.as_json()


@pytest.fixture(scope="module")
def tiny():
    return geometry.build(geometry.find("tiny"), "cpu", torch.float32)


@pytest.fixture
def run(tiny, tmp_path):
    """Measure into a folder, from the start or resumed; returns the document."""

    def measure(effort, setup=SETUP, resume=False, advance=lambda n: None):
        document = session.open_folder(tmp_path / "out", setup, MACHINE, resume)
        session.measure(
            document,
            tiny,
            setup,
            effort,
            lambda: session.write(tmp_path / "out", document),
            advance,
        )
        return document

    return measure


def saved(tmp_path):
    return json.loads((tmp_path / "out" / session.RESULTS).read_text())


def test_everybody_runs_in_every_round(run, tmp_path):
    steps = []
    run(session.Effort(rounds=3, answers=2), advance=steps.append)
    document = saved(tmp_path)
    [group] = document["groups"]
    assert [(one["name"], one["budget"]) for one in group["contestants"]] == EVERYBODY
    for one in group["contestants"]:
        assert len(one["rounds"]) == 3
        assert ["total" in row for row in one["rounds"]] == [True, True, False]
    [refused] = group["refused"]
    assert (refused["name"], refused["budget"]) == ("fastv", 3)
    assert "budget must be at least" in refused["reason"]
    assert sum(steps) == session.measurements(SETUP, session.Effort(3, 2))
    assert document["summary"][0]["rows"][0]["speedup"]["median"] == 1.0


def test_every_other_round_runs_backwards(run, monkeypatch):
    turns = []
    original = Contestant.run

    def note(self, answer=True):
        turns.append((self.name, None if self.name == "unpruned" else self.budget))
        return original(self, answer)

    monkeypatch.setattr(Contestant, "run", note)
    run(session.Effort(rounds=2, answers=1))
    assert turns[len(EVERYBODY) :] == EVERYBODY + EVERYBODY[::-1]


def test_an_interruption_keeps_what_was_measured(run, tmp_path, monkeypatch):
    original, calls = Contestant.run, []

    def interrupted(self, answer=True):
        calls.append(self.name)
        if len(calls) == 2 * len(EVERYBODY) + 2:  # warmed up, one round, one more
            raise KeyboardInterrupt
        return original(self, answer)

    monkeypatch.setattr(Contestant, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(session.Effort(rounds=3, answers=1))
    kept = saved(tmp_path)["groups"][0]["contestants"]
    assert sum(len(one["rounds"]) for one in kept) == len(EVERYBODY) + 1
    monkeypatch.setattr(Contestant, "run", original)
    run(session.Effort(rounds=3, answers=1), resume=True)
    done = saved(tmp_path)["groups"][0]["contestants"]
    assert [len(one["rounds"]) for one in done] == [3] * len(EVERYBODY)
    for before, after in zip(kept, done, strict=True):
        assert after["rounds"][: len(before["rounds"])] == before["rounds"]


def test_a_time_limit_leaves_the_least_rounds(run):
    steps = []
    document = run(session.Effort(rounds=9, answers=1, minutes=0.0), advance=steps.append)
    for one in document["groups"][0]["contestants"]:
        assert len(one["rounds"]) == session.LEAST_ROUNDS
    assert sum(steps) == session.measurements(SETUP, session.Effort(9, 1))


def test_a_method_that_cannot_run_is_refused_with_its_reason(run, monkeypatch):
    original = Contestant.warm

    def warm(self):
        if self.name == "sts":
            raise UnsupportedModeError("not here")
        if self.name == "fastv":
            raise torch.OutOfMemoryError
        original(self)

    monkeypatch.setattr(Contestant, "warm", warm)
    [group] = run(session.Effort(1, 1), replace(SETUP, budgets=(12,)))["groups"]
    assert {one["name"]: one["reason"] for one in group["refused"]} == {
        "sts": "not here",
        "fastv": "out of memory",
    }


def test_a_run_is_not_mixed_with_another(run, tmp_path):
    run(session.Effort(1, 1))
    with pytest.raises(InvalidArgumentError, match="holds a run; --resume goes on with it"):
        run(session.Effort(1, 1))
    with pytest.raises(InvalidArgumentError, match=r"has budgets=\[12, 3\], this is budgets=\[12"):
        run(session.Effort(1, 1), replace(SETUP, budgets=(12,)), resume=True)
    with pytest.raises(InvalidArgumentError, match=r"has torch='2\.0', this is torch='2\.1'"):
        session.open_folder(tmp_path / "out", SETUP, MACHINE | {"torch": "2.1"}, True)


@pytest.mark.parametrize("text", ["{", "[]", "null", "{}"])
def test_a_broken_file(tmp_path, text):
    (tmp_path / session.RESULTS).write_text(text)
    with pytest.raises(InvalidArgumentError, match=r"out holds .*bench\.json.* delete it"):
        session.open_folder(tmp_path, SETUP, MACHINE, resume=True)


def test_out_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidArgumentError, match="out must be a folder"):
        session.open_folder(tmp_path / "file", SETUP, MACHINE, resume=False)
