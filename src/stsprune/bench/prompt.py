"""What the model is shown: one picture and a short question, and the floor's shorter prompt."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from stsprune.engine.families import family_of
from stsprune.engine.layout import NO_IDS
from stsprune.engine.visual import Visual
from stsprune.errors import UnsupportedModelError

BEFORE, AFTER = 24, 20  # tokens of text around the picture
WORD = 20
PATCHES = 72  # per side of a picture for models that take any size
KNOWN = (
    "LlavaForConditionalGeneration",
    "LlavaNextForConditionalGeneration",
    "Qwen2VLForConditionalGeneration",
    "Qwen2_5_VLForConditionalGeneration",
    "Qwen3VLForConditionalGeneration",
)


def picture(model: Any, batch: int, seed: int = 0) -> dict[str, Any]:
    """The tensors that a processor would make of `batch` square pictures of noise.

    LLaVA at its encoder's size, LLaVA-NeXT as four tiles and a thumbnail, Qwen-VL as 72 x 72
    patches or those of its geometry. Raises UnsupportedModelError for any other model.
    """
    kind = type(model).__name__
    vision = model.config.vision_config
    if kind not in KNOWN or vision.model_type == "pixtral":
        raise UnsupportedModelError(
            f"model must be one of {', '.join(KNOWN)} to be timed, got {kind} "
            f"with the encoder {vision.model_type!r}"
        )
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> torch.Tensor:
        pixels = torch.randn(*shape, generator=generator)
        return pixels.to(model.device, model.dtype)

    if "Qwen" in kind:
        side = getattr(model.config, "bench_patches", PATCHES)
        values = 3 * vision.temporal_patch_size * vision.patch_size**2
        grid = torch.tensor([[1, side, side]] * batch, device=model.device)
        return {"pixel_values": noise(batch * side**2, values), "image_grid_thw": grid}
    side = vision.image_size
    if "Next" in kind:
        sizes = torch.tensor([[2 * side, 2 * side]] * batch, device=model.device)
        return {"pixel_values": noise(batch, 5, 3, side, side), "image_sizes": sizes}
    return {"pixel_values": noise(batch, 3, side, side)}


def patch_weights(model: Any) -> int:
    """Numbers in the weights that make a patch's embedding."""
    inner = family_of(model).inner(model)
    tower = inner.visual if hasattr(inner, "visual") else inner.vision_tower
    layer = next(m for m in tower.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Conv3d))
    return int(layer.weight.numel())


def shape_of(model: Any, tensors: dict[str, Any]) -> Visual:
    """The visual tokens of each of the (equal) pictures."""
    arguments = tensors | {"pixel_values": tuple(tensors["pixel_values"].shape)}
    visual: Visual = family_of(model).visuals(model, "image", arguments, NO_IDS)[0]
    return visual


def prompt(model: Any, tensors: dict[str, Any], batch: int, placeholders: int) -> dict[str, Any]:
    """Model inputs [batch, T] with `placeholders` for each picture.

    Three-axis positions are counted on: their values do not matter for time.
    """
    image = family_of(model).token_ids(model)["image"]
    row = [WORD] * BEFORE + [image] * placeholders + [WORD] * AFTER
    ids = torch.tensor([row] * batch, device=model.device)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)} | tensors
    if family_of(model).rotary_axes == 3:
        inputs["mm_token_type_ids"] = (ids == image).int()
        inputs["position_ids"] = positions(model, batch, 0, len(row))
    return inputs


def positions(model: Any, batch: int, start: int, count: int) -> torch.Tensor:
    """Three equal axes [3, batch, count] from `start` on."""
    numbers = torch.arange(start, start + count, device=model.device)
    return numbers.expand(3, batch, count)


@contextmanager
def cut_features(model: Any, keep: int, ready: dict[str, Any] | None = None) -> Iterator[None]:
    """The floor: the picture's encoder runs, the first `keep` of its features go on.

    ready: a place for the encoder's output, which is made once and then used again: the floor
    without the encoder. Nothing else of the model is touched; the prompt has as many placeholders.
    """
    inner = family_of(model).inner(model)
    original = inner.get_image_features

    @functools.wraps(original)
    def encode(*args: Any, **kwargs: Any) -> Any:
        if ready:
            return copy.copy(ready["out"])
        out = cut(original(*args, **kwargs))
        if ready is not None:
            ready["out"] = copy.copy(out)
        return out

    def cut(out: Any) -> Any:
        out.pooler_output = [rows[:keep] for rows in out.pooler_output]
        if getattr(out, "deepstack_features", None) is not None:
            out.deepstack_features = [
                [rows[:keep] for rows in each] for each in out.deepstack_features
            ]
        return out

    inner.__dict__["get_image_features"] = encode
    try:
        yield
    finally:
        del inner.__dict__["get_image_features"]
