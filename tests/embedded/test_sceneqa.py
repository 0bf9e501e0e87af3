"""SceneQA: deterministic, disjoint, true to its pictures, and not to be guessed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from stsprune.embedded.questions import ANSWERS, FAMILIES, questions
from stsprune.embedded.scenes import HELD_OUT, PATCH, scene
from stsprune.embedded.text import UNK, build_tokenizer, vocabulary
from stsprune.evaluation import Blind

SCENES = 150


def pairs(split):
    return {(o.colour, o.shape) for i in range(SCENES) for o in scene(split, i).objects}


@pytest.fixture(scope="module")
def asked():
    worlds = [scene("test", i) for i in range(SCENES)]
    return [(world, question) for world in worlds for question in questions(world, 2)]


def test_deterministic_and_different():
    first, again = scene("test", 3), scene("test", 3)
    assert np.array_equal(first.image, again.image)
    assert first.objects == again.objects
    assert questions(first, 2) == questions(again, 2)
    for split, index in (("test", 4), ("train", 3), ("validation", 3)):
        assert not np.array_equal(first.image, scene(split, index).image)


def test_some_pairs_are_kept_for_the_test_split():
    assert not pairs("train") & HELD_OUT
    assert not pairs("validation") & HELD_OUT
    assert pairs("test") & HELD_OUT == HELD_OUT


@pytest.mark.parametrize("grid", [8, 12, 24])
def test_any_grid_has_objects_and_distractors(grid):
    for index in range(20):
        world = scene("train", index, grid)
        assert world.image.shape == (grid * PATCH, grid * PATCH, 3)
        assert world.owner.shape == (grid * grid,)
        assert world.objects
        assert (world.owner == -2).any()
        assert all(len(item.patches) >= 2 for item in world.objects)
        assert len({(o.colour, o.shape) for o in world.objects}) == len(world.objects)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [(("dev", 0), "split must be"), (("test", -1), "index must be"), (("test", 0, 4), "grid")],
)
def test_bad_scenes(arguments, match):
    with pytest.raises(ValueError, match=match):
        scene(*arguments)


def test_unknown_family():
    with pytest.raises(ValueError, match="families must be among"):
        questions(scene("test", 0), families=["taste"])


def truth(world, question):
    """The answer read off the scene by other code than that which asked."""
    words = question.text.rstrip("?").split()
    items = world.objects
    if question.family == "character":
        return next(o.glyph for o in items if [o.colour, o.shape] == words[-2:])
    if question.family in ("colour", "shape"):
        found = [o for o in items if words[-1] == o.glyph]
        found = found or [o for o in items if words[4] in (o.colour, o.shape)]
        assert len(found) == 1
        return getattr(found[0], question.family)
    if question.family == "count":
        word = words[2]
        singular = {"crosses": "cross"}.get(word, word.rstrip("s"))
        return str(sum(word == o.colour or singular == o.shape for o in items))
    if question.family == "exist":
        return "yes" if any([o.colour, o.shape] == words[-2:] for o in items) else "no"
    if question.family == "background":
        return world.texture
    find = {(o.colour, o.shape): o for o in items}
    if question.family == "where":
        item, half = find[tuple(words[-2:])], world.image.shape[0] / 2
        vertical = "top" if item.y < half else "bottom"
        return f"{vertical}-{'left' if item.x < half else 'right'}"
    a, b = find[tuple(words[3:5])], find[tuple(words[-2:])]
    dx, dy = b.x - a.x, b.y - a.y
    if abs(dx) > abs(dy):
        return "left" if dx > 0 else "right"
    return "above" if dy > 0 else "below"


def test_answers_are_true(asked):
    assert {question.family for _, question in asked} == set(FAMILIES)
    for world, question in asked:
        assert question.answer == truth(world, question), question
        assert question.answer in ANSWERS[question.family]
        assert all(world.owner[patch] >= 0 for patch in question.patches)


def test_guessing_does_not_pay(asked):
    only = [question for _, question in asked]
    guesses = Blind.shipped().answers(only)
    right = Counter(q.family for q, g in zip(only, guesses, strict=True) if q.answer == g)
    total = Counter(q.family for q in only)
    for family in FAMILIES:
        assert right[family] / total[family] < 1 / len(ANSWERS[family]) + 0.2, family


def test_the_tokenizer_knows_every_word(asked):
    tokenizer = build_tokenizer()
    for _, question in asked:
        text = f"USER: <image> {question.text.upper()} ASSISTANT: {question.answer}"
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids[-1:]) == question.answer
    assert tokenizer("zebra")["input_ids"][-1] == vocabulary().index(UNK)
