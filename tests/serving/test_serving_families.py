"""Shapes of images by what vLLM's processors say of them, against the engine's."""

from types import SimpleNamespace

import pytest
import torch
from zoo import KITS

from stsprune.engine.families import FAMILIES
from stsprune.engine.visual import square
from stsprune.errors import InvalidArgumentError, UnsupportedModeError, UnsupportedModelError
from stsprune.serving.choose import kept_length
from stsprune.serving.families import SERVED
from stsprune.serving.positions import Gap, delta, marked, resolve, stretch

ITEMS = {
    "LLaVA-1.5": [{}],
    "LLaVA-NeXT": [{"image_sizes": torch.tensor(size)} for size in ((30, 50), (24, 24), (60, 40))],
    "LLaVA-OneVision": [{"image_sizes": torch.tensor(size)} for size in ((30, 50), (60, 40))],
    "Qwen2-VL": [{"image_grid_thw": torch.tensor((1, 8, 12))}],
    "Qwen2.5-VL": [{"image_grid_thw": torch.tensor((1, 8, 12))}],
    "Qwen3-VL": [{"image_grid_thw": torch.tensor((1, 4, 6))}],
    "InternVL 3": [{"image_num_patches": torch.tensor(n)} for n in (1, 3)],
}


CASES = [
    pytest.param(kit, item, id=f"{kit} {number}")
    for kit, items in ITEMS.items()
    for number, item in enumerate(items)
]


@pytest.mark.parametrize(("kit", "item"), CASES)
def test_shapes(kit, item):
    config = KITS[kit].config()
    family = SERVED[KITS[kit].model]
    family.check(config)
    shape = family._shapes(config, item)[0]
    if "image_sizes" in item or "image_grid_thw" in item:
        arguments = {name: value[None] for name, value in item.items()}
        engine = FAMILIES[family.architecture]
        assert engine.visuals(SimpleNamespace(config=config), "image", arguments, None) == [shape]
    assert family.visual(config, item, shape.length) == shape
    for budget in (3, 0.4):
        kept = kept_length(shape, budget)
        assert family.pruned_visual(config, item, kept, budget) == shape
    offsets = family.offsets(shape, torch.arange(shape.length))
    assert offsets.shape == (shape.length, 3)
    assert len({tuple(row) for row in offsets.tolist()}) == shape.length
    if family.axes == 1:
        assert offsets[:, 0].tolist() == list(range(shape.length))
    with pytest.raises(InvalidArgumentError, match="fits none of its shapes"):
        family.visual(config, item, 99999)


def test_all_served_families_are_here():
    assert {KITS[name].model for name in ITEMS} == set(SERVED)


def test_a_prompt_that_ends_with_an_image():
    """What follows stands where it would without pruning, whatever token is kept last."""
    family = SERVED["LlavaForConditionalGeneration"]
    image, text, kept = square(5), 4, torch.tensor([3, 7, 20])
    full = torch.arange(text + image.length).expand(3, -1)
    whole, index = stretch([1] * text + [9] * len(kept), [Gap(text, len(kept), image.length)])
    positions, step = marked(full, index, [Gap(text, len(kept), image.length)])
    places = torch.arange(text, text + len(kept))
    rowed = torch.zeros(positions.shape[1], dtype=torch.bool).index_fill(0, places, True)
    positions = resolve(positions, rowed, family.offsets(image, kept))
    assert positions[0].tolist() == [0, 1, 2, 3, 7, 11, 24]
    assert len(whole) == text + image.length
    assert delta(positions) == step == image.length - len(kept)


def test_a_thumbnail_alone():
    config = KITS["LLaVA-NeXT"].config()
    family = SERVED["LlavaNextForConditionalGeneration"]
    side = config.vision_config.image_size // config.vision_config.patch_size
    item = {"image_sizes": torch.tensor((30, 50))}
    assert family.visual(config, item, side * side + 1).tokens == side * side


def test_variants_that_cannot_be_pruned():
    family = SERVED["LlavaForConditionalGeneration"]
    with pytest.raises(UnsupportedModelError, match="Pixtral"):
        family.check(SimpleNamespace(vision_config=SimpleNamespace(model_type="pixtral")))
    config = KITS["LLaVA-1.5"].config()
    config.vision_feature_select_strategy = "full"
    with pytest.raises(UnsupportedModeError, match="vision_feature_select_strategy"):
        family.check(config)
