"""What methods read of the encoder's attention, against the attention's own weights."""

from __future__ import annotations

import pytest
import torch
from zoo import KITS, shared

import stsprune
from stsprune.engine.towers import TowerView, tower_of

READS_ENCODER = stsprune.methods()["visionzip"](0.4)


@pytest.mark.parametrize("family", ["LLaVA-1.5", "InternVL 3", "Idefics3", "Gemma 3"])
@torch.no_grad()
def test_received_is_the_mean_of_the_weights(family):
    model, seen, weights = shared(family, "eager"), [], []
    tower = tower_of(model)
    attention = TowerView(tower).attention
    inputs = KITS[family].inputs(model, [[2, "image", 3]])
    handle = attention.register_forward_hook(lambda *call: weights.append(call[-1][1]))
    method = type(READS_ENCODER)
    original = method.select

    def select(self, visual, keep):
        seen.append(visual.encoder)
        return original(self, visual, keep)

    method.select = select
    try:
        with stsprune.prune(model, READS_ENCODER):
            model(**inputs)
    finally:
        method.select = original
        handle.remove()
    [view], [given], order = seen, weights, tower.order
    assert view.from_cls == (order.prefix == 1)
    asked = given[:, :, 0] if view.from_cls else given.mean(2)
    patches = asked.mean(1)[:, order.prefix :]
    means = patches[:, order.places(tower.grid)].mean(-1).flatten()
    # Tiles put together to a picture are in another order, their tokens the same.
    assert torch.allclose(view.received.flatten().sort().values, means.sort().values, atol=1e-6)


@pytest.mark.parametrize("family", ["Qwen2-VL", "Qwen2.5-VL", "Qwen3-VL", "LLaVA-1.5 Pixtral"])
@torch.no_grad()
def test_every_frame_gives_away_all_of_its_attention(family):
    model = shared(family)
    kit = KITS[family]
    rows = [["image", "image", "video", 2] if kit.video else ["image", "image", 2]]
    seen = []
    method = type(READS_ENCODER)
    original = method.select

    def select(self, visual, keep):
        seen.append(visual)
        return original(self, visual, keep)

    method.select = select
    try:
        with stsprune.prune(model, READS_ENCODER):
            model(**kit.inputs(model, rows))
    finally:
        method.select = original
    assert seen
    unit = tower_of(model).order.unit
    for visual in seen:
        frames = visual.grid[0] if len(visual.grid) == 3 else 1
        given = visual.encoder.received.view(len(visual.images), frames, -1).sum(-1) * unit
        assert torch.allclose(given, torch.ones_like(given), atol=1e-5)
