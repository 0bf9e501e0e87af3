"""Accuracy is counted as one would by hand; the blind guesser guesses from text alone."""

from __future__ import annotations

import pytest

from stsprune.embedded.questions import Question
from stsprune.evaluation import Blind, Item, accuracy, load_items
from stsprune.evaluation.benchmarks import find_benchmark
from stsprune.evaluation.blind import learn


def question(family, text, answer):
    return Question(family, text, answer, ())


def test_accuracy_by_hand():
    items = [
        Item(None, question("count", "a", "1")),
        Item(None, question("count", "b", "2")),
        Item(None, question("exist", "c", "yes")),
    ]
    assert accuracy(items, ["1", "1", "yes"]) == {"all": 2 / 3, "count": 0.5, "exist": 1.0}


def test_blind_answers_by_text_and_backs_off_to_the_family():
    training = [question("exist", "often?", "yes")] * 20 + [question("exist", "else?", "no")] * 30
    training += [question("exist", "rare?", "yes")] * 3
    asked = [question("exist", text, "") for text in ("often?", "rare?", "never?")]
    assert Blind.count(training).answers(asked) == ["yes", "no", "no"]


def test_the_shipped_guesses_are_those_of_the_training_split():
    assert learn(find_benchmark("sceneqa")).document() == Blind.shipped().document()


def test_items_are_those_of_the_split():
    items = load_items("validation", 3)
    assert {item.scene.index for item in items} == {0, 1, 2}
    assert {item.scene.split for item in items} == {"validation"}
    with pytest.raises(ValueError, match="scenes must be"):
        load_items("validation", 0)
