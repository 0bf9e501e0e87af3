"""LLaVA-NeXT, LLaVA-NeXT-Video, LLaVA-OneVision: a thumbnail, then the picture in tiles.

The tiles are put together to the grid of the whole picture, padding is cut off, and every row ends
with a newline token, which stays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, ClassVar

import torch

from ..layout import Ids
from ..visual import Plane, Visual
from .base import Family, encoder_side, given


class LlavaNext(Family):
    """Any resolution: thumbnail and tiles."""

    name = "LLaVA-NeXT"
    classes: ClassVar[tuple[str, ...]] = ("LlavaNextForConditionalGeneration",)

    def visuals(
        self, model: Any, modality: str, arguments: dict[str, Any], ids: Ids
    ) -> Sequence[Visual]:
        """See `Family.visuals`."""
        sizes = given(arguments, "image_sizes")
        return [self._image(model, size) for size in pairs(sizes)]

    def _image(self, model: Any, size: tuple[int, int]) -> Visual:
        side = encoder_side(model)
        return Visual((Plane((side, side)), Plane(_picture(model, size, side), newline=True)))


class Granite4Vision(LlavaNext):
    """Tiles whose tokens a window transformer made fewer; decoder layers add them (deepstack)."""

    name = "Granite 4 Vision"
    classes = ("Granite4VisionForConditionalGeneration",)
    since = "5.23"

    def _image(self, model: Any, size: tuple[int, int]) -> Visual:
        side = int(encoder_side(model) * Fraction(model.config.downsample_rate))
        picture = Plane(_picture(model, size, side), newline=True)
        return Visual((Plane((side, side)), picture))


class LlavaNextVideo(LlavaNext):
    """Images as LLaVA-NeXT; frames of a video are pooled."""

    name = "LLaVA-NeXT-Video"
    classes = ("LlavaNextVideoForConditionalGeneration",)
    modalities = ("image", "video")

    def visuals(
        self, model: Any, modality: str, arguments: dict[str, Any], ids: Ids
    ) -> Sequence[Visual]:
        """See `Family.visuals`."""
        if modality == "image":
            return super().visuals(model, modality, arguments, ids)
        videos, frames = given(arguments, "pixel_values_videos")[:2]
        side = encoder_side(model) // model.config.spatial_pool_stride
        return [Visual((Plane((side, side)),) * frames, stacked=True, video=True)] * videos


class LlavaOnevision(LlavaNext):
    """Large pictures are scaled down; several images in a prompt are thumbnails only."""

    name = "LLaVA-OneVision"
    classes = ("LlavaOnevisionForConditionalGeneration",)
    modalities = ("image", "video")

    def visuals(
        self, model: Any, modality: str, arguments: dict[str, Any], ids: Ids
    ) -> Sequence[Visual]:
        """See `Family.visuals`."""
        side = encoder_side(model)
        if modality == "video":
            videos, frames = given(arguments, "pixel_values_videos")[:2]
            half = (math.ceil(side / 2),) * 2
            planes = (Plane(half),) * (frames - 1) + (Plane(half, tail=1),)
            return [Visual(planes, stacked=True, video=True)] * videos
        sizes = pairs(given(arguments, "image_sizes"))
        per_row = arguments.get("batch_num_images")
        alone = [True] * len(sizes)
        if per_row is not None:
            alone = [int(n) == 1 for n in per_row for _ in range(int(n))]
        thumbnail = Visual((Plane((side, side), tail=1),))
        return [
            self._image(model, size) if tiled else thumbnail
            for size, tiled in zip(sizes, alone, strict=True)
        ]

    def _image(self, model: Any, size: tuple[int, int]) -> Visual:
        side = encoder_side(model)
        height, width = _picture(model, size, side)
        most = int(model.config.vision_aspect_ratio.removeprefix("anyres_max_"))
        ratio = math.sqrt(height * width / (most * side**2))
        if ratio > 1.1:
            height, width = int(height // ratio), int(width // ratio)
        return Visual((Plane((side, side)), Plane((height, width), newline=True)))


def tiling(model: Any, size: tuple[int, int]) -> tuple[int, int]:
    """(rows, columns) of the tiles of a picture of (height, width) pixels."""
    from transformers.models.llava_next.modeling_llava_next import get_anyres_image_grid_shape

    rows, columns = get_anyres_image_grid_shape(
        size, model.config.image_grid_pinpoints, model.config.vision_config.image_size
    )
    return int(rows), int(columns)


def unpadded(picture: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Tiles put together [C, H, W], without the padding of a picture of that size."""
    from transformers.models.llava_next.modeling_llava_next import unpad_image

    cut: torch.Tensor = unpad_image(picture, size)
    return cut


def _picture(model: Any, size: tuple[int, int], side: int) -> tuple[int, int]:
    """Grid of the whole picture: tiles without the padding, as transformers cuts it off.

    side: tokens per side of a tile.
    """
    rows, columns = tiling(model, size)
    shape = unpadded(torch.empty(1, rows * side, columns * side, device="meta"), size).shape
    return int(shape[1]), int(shape[2])


def pairs(sizes: Any) -> list[tuple[int, int]]:
    """(height, width) of images, from a tensor or a list."""
    rows = sizes.tolist() if hasattr(sizes, "tolist") else sizes
    return [(int(height), int(width)) for height, width in rows]
