"""Features that decoder layers add: where, and what the stages see of them."""

from __future__ import annotations

import pytest
import torch
from zoo import KITS, shared

import stsprune
from stsprune.engine.deepstack import Deepstack
from stsprune.errors import UnsupportedModelError
from stsprune.method import STS

VISUAL = torch.tensor([[False, True, True, False], [False, False, True, False]])
FEATURES = torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
EMBEDS = torch.zeros(2, 4, 2)


def test_what_the_first_layers_add_behind_themselves():
    given = {"visual_pos_masks": VISUAL, "deepstack_visual_embeds": [FEATURES, 2 * FEATURES]}
    stack = Deepstack.taken_from(given, 6)
    assert given == {"visual_pos_masks": None, "deepstack_visual_embeds": None}
    assert sorted(stack.before) == [1, 2]
    assert stack.seen(EMBEDS) is EMBEDS
    columns = torch.tensor([[2, 3], [1, 2]])
    hidden = torch.zeros(2, 2, 2)
    assert stack.add(0, hidden, columns) is hidden
    added = stack.add(2, hidden, columns)[..., 0]
    assert added.tolist() == [[4.0, 0.0], [0.0, 6.0]]


def test_what_any_layers_add_before_themselves():
    mask = VISUAL[..., None]
    given = {"vision_mask": mask, "deepstack_features": {3: FEATURES, 2: 2 * FEATURES}}
    stack = Deepstack.taken_from(given, 6)
    assert given == {"vision_mask": None, "deepstack_features": None}
    assert stack.seen(EMBEDS)[..., 0].tolist() == [[0.0, 2.0, 4.0, 0.0], [0.0, 0.0, 6.0, 0.0]]
    assert Deepstack.taken_from({}, 6) is None


def test_more_features_than_layers():
    given = {"visual_pos_masks": VISUAL, "deepstack_visual_embeds": [FEATURES] * 6}
    with pytest.raises(UnsupportedModelError, match="got 6 and 6"):
        Deepstack.taken_from(given, 6)


@pytest.mark.skipif("Granite 4 Vision" not in KITS, reason="this transformers has no such class")
def test_images_that_enter_empty_are_told_apart():
    """Their placeholders are all zeros: a choice by those would be the same for any picture."""
    model, kept = shared("Granite 4 Vision"), []
    for seed in range(2):
        inputs = KITS["Granite 4 Vision"].inputs(model, [[3, "image", 5]], seed=seed)
        with torch.no_grad(), stsprune.prune(model, STS(0.3, semantics=False)) as trace:
            model(**inputs)
        kept.append(trace.images[0].stages[0].kept)
    assert not torch.equal(*kept)
