"""What the model is shown: one picture and a short question, and the floor's shorter prompt."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from stsprune.engine.families import family_of
from stsprune.engine.layout import Ids
from stsprune.engine.visual import Visual

from .geometry import IMAGE, Geometry

BEFORE, AFTER = 24, 20  # tokens of text around the picture
WORD = 20


def picture(geometry: Geometry, model: Any, batch: int, seed: int = 0) -> dict[str, Any]:
    """The tensors that a processor would make of `batch` pictures of noise."""
    generator = torch.Generator().manual_seed(seed)
    height, width = geometry.size
    vision = model.config.vision_config
    if "Qwen" in geometry.model:
        rows, columns = height // vision.patch_size, width // vision.patch_size
        values = 3 * vision.temporal_patch_size * vision.patch_size**2
        pixels = torch.randn(batch * rows * columns, values, generator=generator)
        return {
            "pixel_values": pixels.to(model.device, model.dtype),
            "image_grid_thw": torch.tensor([[1, rows, columns]] * batch, device=model.device),
        }
    side = vision.image_size
    if "Next" in geometry.model:
        tiles = 1 + (height // side) * (width // side)
        pixels = torch.randn(batch, tiles, 3, side, side, generator=generator)
        sizes = torch.tensor([[height, width]] * batch, device=model.device)
        return {"pixel_values": pixels.to(model.device, model.dtype), "image_sizes": sizes}
    pixels = torch.randn(batch, 3, side, side, generator=generator)
    return {"pixel_values": pixels.to(model.device, model.dtype)}


def shape_of(model: Any, tensors: dict[str, Any]) -> Visual:
    """The visual tokens of each of the (equal) pictures."""
    nothing = Ids(torch.zeros(0), torch.zeros(0), torch.device("cpu"))
    arguments = tensors | {"pixel_values": tuple(tensors["pixel_values"].shape)}
    visual: Visual = family_of(model).visuals(model, "image", arguments, nothing)[0]
    return visual


def prompt(model: Any, tensors: dict[str, Any], batch: int, placeholders: int) -> dict[str, Any]:
    """Model inputs [batch, T] with `placeholders` for each picture.

    Three-axis positions are counted on: their values do not matter for time.
    """
    row = [WORD] * BEFORE + [IMAGE] * placeholders + [WORD] * AFTER
    ids = torch.tensor([row] * batch, device=model.device)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)} | tensors
    if family_of(model).rotary_axes == 3:
        inputs["mm_token_type_ids"] = (ids == IMAGE).int()
        inputs["position_ids"] = positions(model, batch, 0, len(row))
    return inputs


def positions(model: Any, batch: int, start: int, count: int) -> torch.Tensor:
    """Three equal axes [3, batch, count] from `start` on."""
    numbers = torch.arange(start, start + count, device=model.device)
    return numbers.expand(3, batch, count)


@contextmanager
def cut_features(model: Any, keep: int) -> Iterator[None]:
    """The floor: the picture's encoder runs, the first `keep` of its features go on.

    Nothing else of the model is touched; the prompt has as many placeholders.
    """
    inner = family_of(model).inner(model)
    original = inner.get_image_features

    @functools.wraps(original)
    def encode(*args: Any, **kwargs: Any) -> Any:
        out = original(*args, **kwargs)
        out.pooler_output = [one[:keep] for one in out.pooler_output]
        if getattr(out, "deepstack_features", None) is not None:
            out.deepstack_features = [
                [one[:keep] for one in each] for each in out.deepstack_features
            ]
        return out

    inner.__dict__["get_image_features"] = encode
    try:
        yield
    finally:
        del inner.__dict__["get_image_features"]
