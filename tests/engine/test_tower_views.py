"""What methods read of the encoder's attention, against the attention's own weights."""

from __future__ import annotations

import pytest
import torch
from zoo import KITS, shared

import stsprune
from stsprune.engine.encoding import shapes_only
from stsprune.engine.towers import TowerView, tower_of
from stsprune.errors import UnsupportedModeError

READS_ENCODER = stsprune.methods()["visionzip"](0.4)
READS_LAYERS = stsprune.methods()["hiprune"](0.4, object_layer=0.5)


def seen_by(model, method, inputs):
    """The visual tokens that each `select` of a prefill was given."""
    seen, kind = [], type(method)
    original = kind.select

    def select(self, visual, keep):
        seen.append(visual)
        return original(self, visual, keep)

    kind.select = select
    try:
        with stsprune.prune(model, method):
            model(**inputs)
    finally:
        kind.select = original
    return seen


@pytest.mark.parametrize("family", ["LLaVA-1.5", "InternVL 3", "Idefics3", "Gemma 3"])
@torch.no_grad()
def test_received_is_the_mean_of_the_weights(family):
    model, weights = shared(family, "eager"), []
    tower = tower_of(model)
    attention = tower.attentions[TowerView(tower).last]
    inputs = KITS[family].inputs(model, [[2, "image", 3]])
    handle = attention.register_forward_hook(lambda *call: weights.append(call[-1][1]))
    [visual] = seen_by(model, READS_ENCODER, inputs)
    handle.remove()
    view, [given], order = visual.encoder, weights, tower.order
    assert view.from_cls == (order.prefix == 1)
    assert view.layers is None
    asked = given[:, :, 0] if view.from_cls else given.mean(2)
    assert torch.allclose(view.received.flatten().sort().values, by_token(asked, tower), atol=1e-6)


@pytest.mark.parametrize("family", ["LLaVA-1.5", "InternVL 3", "Idefics3", "Gemma 3"])
@torch.no_grad()
def test_further_layers_are_the_mean_of_their_weights(family):
    """Over all queries, the class token's among them; two of them, of which one is read anyway."""
    model, weights = shared(family, "eager"), {}
    tower = tower_of(model)
    view = TowerView(tower, READS_LAYERS.tower_layers)
    assert view.further == [(tower.used + 1) // 2 - 1, tower.used - 1]
    inputs = KITS[family].inputs(model, [[2, "image", 3]])
    handles = [
        tower.attentions[layer].register_forward_hook(
            lambda *call, layer=layer: weights.__setitem__(layer, call[-1][1])
        )
        for layer in view.further
    ]
    [visual] = seen_by(model, READS_LAYERS, inputs)
    for handle in handles:
        handle.remove()
    for number, layer in enumerate(view.further):
        got = visual.encoder.layers[..., number].flatten().sort().values
        assert torch.allclose(got, by_token(weights[layer].mean(2), tower), atol=1e-6)


def by_token(asked, tower):
    """Weights [pictures, heads, patches] -> what visual tokens receive, in ascending order.

    Tiles put together to a picture are in another order, their tokens the same.
    """
    patches = asked.mean(1)[:, tower.order.prefix :]
    return patches[:, tower.order.places(tower.grid)].mean(-1).flatten().sort().values


@pytest.mark.parametrize("family", ["Qwen2-VL", "Qwen2.5-VL", "Qwen3-VL", "LLaVA-1.5 Pixtral"])
@torch.no_grad()
def test_every_frame_gives_away_all_of_its_attention(family):
    model = shared(family)
    kit = KITS[family]
    rows = [["image", "image", "video", 2] if kit.video else ["image", "image", 2]]
    seen = seen_by(model, READS_LAYERS, kit.inputs(model, rows))
    assert seen
    unit = tower_of(model).order.unit
    for visual in seen:
        frames = visual.grid[0] if len(visual.grid) == 3 else 1
        for received in (visual.encoder.received, *visual.encoder.layers.unbind(-1)):
            given = received.view(len(visual.images), frames, -1).sum(-1) * unit
            assert torch.allclose(given, torch.ones_like(given), atol=1e-5)


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("LLaVA-NeXT", "image"),
        ("LLaVA-NeXT-Video", "image"),
        ("LLaVA-OneVision", "image"),  # one of the three is made smaller
        ("LLaVA-OneVision", "video"),
    ],
)
@torch.no_grad()
def test_mosaics_make_tokens_of_patches_as_the_model_does(family, kind):
    """The projector's rows, put together, are the features that enter the language model."""
    model, projected = shared(family), []
    inputs = KITS[family].inputs(model, [[kind, 2, kind, 3], [4, kind, 1]])
    handle = model.model.multi_modal_projector.register_forward_hook(
        lambda *call: projected.append(call[-1])
    )
    seen = seen_by(model, READS_LAYERS, inputs)
    handle.remove()
    found = {
        number: (features, received)
        for visual in seen
        for number, features, received in zip(
            visual.images, visual.features, visual.encoder.received, strict=True
        )
    }
    [rows] = projected
    mosaics = tower_of(model, reading=True).mosaics(kind, shapes_only(inputs))
    assert sum(mosaic.pictures for mosaic in mosaics) == len(rows)
    for number, mosaic in enumerate(mosaics):
        tokens, rows = mosaic.tokens(rows[: mosaic.pictures]), rows[mosaic.pictures :]
        features, received = found[number]
        assert torch.allclose(features, tokens, atol=1e-6)
        assert received.shape == features.shape[:1]
        assert (received > 0).all()


@torch.no_grad()
def test_frames_of_a_video_are_pooled_as_the_model_does():
    """LLaVA-NeXT-Video pools before it projects."""
    family, pooled = "LLaVA-NeXT-Video", []
    model = shared(family)
    inputs = KITS[family].inputs(model, [[1, "video", 2]])
    handle = model.model.vision_resampler.register_forward_hook(
        lambda _, given, out: pooled.append((given[0], out))
    )
    [visual] = seen_by(model, READS_LAYERS, inputs)
    handle.remove()
    [(before, after)] = pooled
    [mosaic] = tower_of(model, reading=True).mosaics("video", shapes_only(inputs))
    assert torch.allclose(mosaic.tokens(before), after.flatten(0, 1), atol=1e-6)
    assert visual.encoder.received.shape == visual.features.shape[:2]


@torch.no_grad()
def test_features_made_for_other_layers_are_refused():
    model = shared("LLaVA-1.5")
    inputs = KITS["LLaVA-1.5"].inputs(model, [[1, "image", 2]])
    with stsprune.prune(model, READS_ENCODER):
        encoded = model.model.get_image_features(pixel_values=inputs.pop("pixel_values"))
    with (
        stsprune.prune(model, READS_LAYERS),
        pytest.raises(UnsupportedModeError, match=r"layers \(0.5, 1.0\): .* made for \(\)"),
    ):
        model(**inputs, mm_encoder_outputs={"image": encoded})
