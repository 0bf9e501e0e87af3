"""SceneQA 2: deterministic, disjoint, true to its pictures, every family asked."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from stsprune.embedded.sceneqa2 import atlas
from stsprune.embedded.sceneqa2.questions import ANSWERS, FAMILIES, questions
from stsprune.embedded.sceneqa2.scenes import CROWDS, GRID, MAX_OBJECTS, scene
from stsprune.embedded.sceneqa2.text import vocabulary
from stsprune.embedded.sceneqa2.words import held_out
from stsprune.embedded.scenes import HELD_OUT, PATCH
from stsprune.embedded.text import UNK, build_tokenizer

SCENES = 90


@pytest.fixture(scope="module", params=["validation", "test"])
def drawn(request):
    return [scene(request.param, index) for index in range(SCENES)]


def test_the_atlas_holds_every_character():
    cells = atlas.atlas()
    assert cells.shape == (len(atlas.FONTS), len(atlas.CHARACTERS), *atlas.CELL)
    assert cells.reshape(-1, atlas.CELL[0] * atlas.CELL[1]).max(1).min() == 255
    flat = {cell.tobytes() for font in cells for cell in font}
    assert len(flat) == len(atlas.FONTS) * len(atlas.CHARACTERS)


def test_a_scene_is_its_number(drawn):
    again = scene(drawn[7].split, 7)
    assert np.array_equal(again.image, drawn[7].image)
    assert again.objects == drawn[7].objects
    assert questions(again, 2) == questions(drawn[7], 2)
    assert again.image.shape == (GRID * PATCH, GRID * PATCH, 3)


def test_splits_share_no_picture():
    assert not np.array_equal(scene("test", 0).image, scene("validation", 0).image)
    assert not np.array_equal(scene("test", 0).image, scene("train", 0).image)


def test_crowds_take_turns(drawn):
    for world in drawn:
        assert world.crowd == tuple(CROWDS)[world.index % 3]
        assert len(world.objects) <= CROWDS[world.crowd][1]
    assert max(len(world.objects) for world in drawn) > 12


def test_what_is_held_out_is_in_the_test_split_only(drawn):
    pairs = {(item.colour, item.shape) for world in drawn for item in world.objects}
    texts = [sign.text for world in drawn for sign in world.signs]
    if drawn[0].split == "test":
        assert pairs & HELD_OUT
        assert 0.3 < sum(map(held_out, texts)) / len(texts) < 0.7
    else:
        assert not pairs & HELD_OUT
        assert not any(map(held_out, texts))


def test_owners_are_what_is_seen(drawn):
    """Every object and sign owns patches around its middle, and no patch far from it."""
    for world in drawn:
        things = {k: (o.x, o.y, o.radius * 1.3) for k, o in enumerate(world.objects)}
        things |= {
            MAX_OBJECTS + k: (s.x, s.y, s.width / 2 + PATCH) for k, s in enumerate(world.signs)
        }
        for number, (x, y, reach) in things.items():
            rows, cols = np.divmod(np.flatnonzero(world.owner == number), GRID)
            assert len(rows)
            assert np.abs(cols * PATCH + PATCH / 2 - x).max() <= reach + PATCH
            assert np.abs(rows * PATCH + PATCH / 2 - y).max() <= reach + PATCH
        assert set(world.owner.tolist()) <= {-1, -2, -3, *things}


def test_every_family_is_asked_and_its_words_are_known(drawn):
    tokenizer = build_tokenizer(vocabulary())
    unknown = tokenizer.convert_tokens_to_ids(UNK)
    asked = [question for world in drawn for question in questions(world, 2)]
    assert {question.family for question in asked} == set(FAMILIES)
    for question in asked:
        ids = tokenizer(question.answer, add_special_tokens=False)["input_ids"]
        assert unknown not in tokenizer(question.text)["input_ids"]
        assert tokenizer.decode(ids) == question.answer
        if question.family in ANSWERS:
            assert question.answer in ANSWERS[question.family]
            assert len(ids) == 1
        if question.family in ("word", "number"):
            assert len(ids) == len(question.answer)


def test_answers_agree_with_the_scene(drawn):
    """Each answer worked out again from the objects, by other means."""
    told = Counter()
    for world in drawn:
        named = {f"{o.colour} {o.shape}": o for o in world.objects}
        for question in questions(world, 2):
            words = question.text.rstrip("?.").split()
            told[question.family] += 1
            if question.family == "read":
                signs = sorted(world.signs, key=lambda sign: sign.x)
                assert question.answer == " ".join(sign.text for sign in signs)
            elif question.family in ("word", "number"):
                sign = next(sign for sign in world.signs if sign.colour == words[-2])
                assert question.answer == sign.text
            elif question.family == "nearest":
                item = named[" ".join(words[-2:])]
                others = [o for o in world.objects if o is not item]
                near = min(others, key=lambda o: np.hypot(o.x - item.x, o.y - item.y))
                assert question.answer == f"{near.colour} {near.shape}"
            elif question.family == "compare":
                pair = named[" ".join(words[4:6])], named[" ".join(words[-2:])]
                larger = max(pair, key=lambda o: o.radius)
                assert question.answer == f"{larger.colour} {larger.shape}"
            elif question.family == "exist":
                assert question.answer == ("yes" if " ".join(words[-2:]) in named else "no")
            elif question.family == "where":
                item = named[" ".join(words[-2:])]
                middle = GRID * PATCH / 2
                row = "top" if item.y < middle else "bottom"
                assert question.answer == f"{row}-{'left' if item.x < middle else 'right'}"
    assert min(told[f] for f in ("read", "nearest", "compare", "exist", "where")) > 10


def test_bad_input():
    with pytest.raises(ValueError, match="split must be one of train, validation, test, got 'x'"):
        scene("x", 0)
    with pytest.raises(ValueError, match="index must be >= 0, got -1"):
        scene("test", -1)
    with pytest.raises(ValueError, match="grid must be >= 16, got 12"):
        scene("test", 0, 12)
    with pytest.raises(ValueError, match=r"families must be among character, .*, got 'taste'"):
        questions(scene("test", 0), families=["taste"])
