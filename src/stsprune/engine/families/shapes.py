"""How images' shapes are read where many families do it alike; each gives a `Reader`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from stsprune.errors import InvalidArgumentError, UnsupportedModeError

from ..layout import Ids
from ..visual import Plane, Visual, square
from .base import given
from .internvl import runs
from .table import Reader


def merge_of(config: Any) -> tuple[int, int]:
    """Patches per visual token, (height, width), under the names that configs use."""
    vision = config.vision_config
    for name in ("spatial_merge_size", "merge_size"):
        if hasattr(vision, name):
            return (getattr(vision, name),) * 2
    height, width = vision.merge_kernel_size
    return height, width


def from_grid_thw(model: Any, modality: str, arguments: dict[str, Any], ids: Ids) -> list[Visual]:
    """One grid of merged patches per frame, from `image_grid_thw` and `video_grid_thw`."""
    high, wide = merge_of(model.config)
    video = modality == "video"
    return [
        Visual((Plane((height // high, width // wide)),) * frames, stacked=video, video=video)
        for frames, height, width in given(arguments, f"{modality}_grid_thw").tolist()
    ]


def from_merge_sizes(
    model: Any, modality: str, arguments: dict[str, Any], ids: Ids
) -> list[Visual]:
    """As `from_grid_thw`, with a merge per image. Raises UnsupportedModeError."""
    if modality == "video" and arguments.get("video_compression_mask") is not None:
        raise UnsupportedModeError(
            "video_compression_mask must be None: it drops a video's tokens already"
        )
    grids = given(arguments, f"{modality}_grid_thw").tolist()
    merges = given(arguments, f"{modality}_merge_sizes").tolist()
    video = modality == "video"
    return [
        Visual((Plane((height // merge, width // merge)),) * frames, stacked=video, video=video)
        for (frames, height, width), merge in zip(grids, merges, strict=True)
    ]


def framed(model: Any, modality: str, arguments: dict[str, Any], ids: Ids) -> list[Visual]:
    """As `from_grid_thw`: a begin token, rows that end with a newline token, an end token."""
    return [
        Visual((replace(image.planes[0], head=1, newline=True, tail=1),))
        for image in from_grid_thw(model, modality, arguments, ids)
    ]


def rows_of_codes(model: Any, modality: str, arguments: dict[str, Any], ids: Ids) -> list[Visual]:
    """One code per cell of `image_sizes` (pixels); every row ends with a newline token."""
    cell = model.model.vqmodel.vision_spatial_factor
    sizes = given(arguments, "image_sizes").tolist()
    return [Visual((Plane((int(h) // cell, int(w) // cell), newline=True),)) for h, w in sizes]


def count_of(arguments: dict[str, Any]) -> int:
    """Images of a call, each encoded as one picture of one size."""
    features = arguments.get("features")
    return len(features) if features is not None else given(arguments, "pixel_values")[0]


def squares(side: Callable[[Any], int]) -> Reader:
    """Every picture is a square of `side(model)` tokens."""

    def read(model: Any, modality: str, arguments: dict[str, Any], ids: Ids) -> list[Visual]:
        return [square(side(model))] * count_of(arguments)

    return read


def placeless(counts: Callable[[Any], Sequence[int]]) -> Reader:
    """A run of placeholders is one picture's query tokens, made by a resampler: one of `counts`.

    They have no place in the picture: all lie in one spot, so that their features repel each other.
    """

    def read(model: Any, modality: str, arguments: dict[str, Any], ids: Ids) -> list[Visual]:
        allowed, found = counts(model), []
        for line in ids.ids.tolist():
            for start, end in runs([token == model.config.image_token_id for token in line]):
                size = next((n for n in allowed if n == end - start), min(allowed))
                pictures, odd = divmod(end - start, size)
                if odd:
                    raise UnsupportedModeError(
                        f"input_ids must hold {' or '.join(map(str, allowed))} image tokens per "
                        f"image, got a run of {end - start}: was the prompt truncated?"
                    )
                found += [Visual((Plane((1, 1)),) * size)] * pictures
        return found

    return read


def rows_of_patches(model: Any, modality: str, arguments: dict[str, Any], ids: Ids) -> list[Visual]:
    """Every row of a picture is a run of placeholders and one other token."""
    found: list[Visual] = []
    for line in ids.ids.tolist():
        before = None
        for start, end in runs([token == model.config.image_token_id for token in line]):
            width = end - start
            if before == (start - 1, width):
                height = found[-1].planes[0].grid[0] + 1
                found[-1] = Visual((Plane((height, width)),))
            else:
                found.append(Visual((Plane((1, width)),)))
            before = (end, width)
    pixels, held = arguments.get("pixel_values"), sum(image.tokens for image in found)
    # Rows that are repeated for samples hold more than was encoded, never less.
    if pixels is not None and held < pixels[0] * pixels[1]:
        raise InvalidArgumentError(
            f"input_ids must hold {pixels[0] * pixels[1]} image tokens, one per patch, got {held}: "
            "was the prompt truncated?"
        )
    return found
