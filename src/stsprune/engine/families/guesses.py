"""Shapes of images that no adapter describes: from what the inputs tell, else tokens in a row.

A guess only decides which tokens a method likes, never whether pruning is exact; so whatever fits
the prompt's placeholders is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isqrt
from typing import Any

from stsprune.errors import InvalidArgumentError

from ..layout import Ids
from ..visual import Plane, Visual
from .internvl import runs

#: Patches per side of a visual token, where no config tells.
_MERGES = (2, 1, 4, 3)
#: How processors call the number of tiles of every image.
_COUNTS = ("num_patches", "num_image_patches", "num_patches_list", "num_tiles", "num_crops")


def guessed(
    model: Any, modality: str, arguments: dict[str, Any], ids: Ids, token: int
) -> Sequence[Visual]:
    """The first reading that fits, else every run of placeholders is one image, 1 x N.

    token: the placeholder. Raises InvalidArgumentError where the prompt has none.
    """
    rows = [runs([entry == token for entry in line]) for line in ids.ids.tolist()]
    rows_held = [sum(end - start for start, end in row) for row in rows]
    lengths = [end - start for row in rows for start, end in row]
    if not lengths:
        raise InvalidArgumentError(
            f"input_ids must hold {modality} tokens (id {token}) for the {modality}s that are "
            "given, got none: another id is set by register_family(..., token_ids=...)"
        )
    vision = getattr(model.config, "vision_config", None)
    for read in (_from_grids, _from_sizes, _from_pictures):
        for shapes in read(modality, arguments, vision, lengths):
            if _fits(shapes, rows_held):
                return shapes
    return [Visual((Plane((1, length)),), video=modality == "video") for length in lengths]


def _from_grids(
    modality: str, arguments: dict[str, Any], vision: Any, lengths: Sequence[int]
) -> Iterator[list[Visual]]:
    """From [images, 3] frames, height and width in patches, or [images, 2] without frames."""
    names = (f"{modality}_grid_thw", f"{modality}_grid_hw", f"{modality}_grid_hws")
    grids = next((_rows(arguments.get(name)) for name in names if name in arguments), [])
    video = modality == "video"
    for merge in _merges(vision):
        if grids and all(side % merge == 0 for grid in grids for side in grid[-2:]):
            yield [
                Visual(
                    (Plane((grid[-2] // merge, grid[-1] // merge)),) * _frames(grid),
                    stacked=video or _frames(grid) > 1,
                    video=video,
                )
                for grid in grids
            ]


def _from_sizes(
    modality: str, arguments: dict[str, Any], vision: Any, lengths: Sequence[int]
) -> Iterator[list[Visual]]:
    """From [images, 2] height and width in pixels."""
    sizes, patch = _rows(arguments.get(f"{modality}_sizes")), getattr(vision, "patch_size", None)
    if modality == "video" or not isinstance(patch, int):
        return
    for merge in _merges(vision):
        cell = patch * merge
        grids = [(height // cell, width // cell) for height, width, *_ in sizes]
        if grids and all(min(grid) > 0 for grid in grids):
            yield [Visual((Plane(grid),)) for grid in grids]


def _from_pictures(
    modality: str, arguments: dict[str, Any], vision: Any, lengths: Sequence[int]
) -> Iterator[list[Visual]]:
    """From pixels [pictures, channels, H, W], or [videos, frames, channels, H, W].

    Several pictures in one run of placeholders are tiles of an image.
    """
    video = modality == "video"
    shape = arguments.get("pixel_values_videos" if video else "pixel_values")
    if not isinstance(shape, tuple) or len(shape) != 4 + video:
        return
    count = shape[0] * (shape[1] if video else 1)
    # Rows that are repeated for beams hold each picture's tokens more than once.
    for times in range(1, len(lengths) + 1):
        tokens, odd = divmod(sum(lengths), count * times)
        grid = None if odd else _same_aspect(tokens, *shape[-2:])
        if grid is None:
            continue
        if video:
            yield [Visual((Plane(grid),) * shape[1], stacked=True, video=True)] * shape[0]
            continue
        tiles = next((_rows(arguments[name]) for name in _COUNTS if name in arguments), [])
        if tiles and sum(row[0] for row in tiles) == count:
            yield [_tiled(grid, row[0]) for row in tiles]
        if all(length % tokens == 0 for length in lengths):
            yield [_tiled(grid, length // tokens) for length in lengths]


def _fits(shapes: Sequence[Visual], rows_held: Sequence[int]) -> bool:
    """Whether the images fill the rows' placeholders, each in one row; rows may be repeated."""
    total = sum(shape.length for shape in shapes)
    times, odd = divmod(sum(rows_held), total) if total else (0, 1)
    if odd or times < 1 or len(rows_held) % times:
        return False
    left = list(shapes)
    for held in rows_held[::times]:
        while held > 0 and left:
            held -= left.pop(0).length
        if held:
            return False
    return not left


def _tiled(grid: tuple[int, int], tiles: int) -> Visual:
    return Visual((Plane(grid),) * tiles, stacked=tiles > 1)


def _frames(grid: Sequence[int]) -> int:
    return grid[0] if len(grid) == 3 else 1


def _same_aspect(tokens: int, height: int, width: int) -> tuple[int, int] | None:
    """The grid of that many cells whose sides are to each other as a picture's."""
    rows = isqrt(tokens * height // width)
    if rows < 1 or tokens % rows or rows * width != tokens // rows * height:
        return None
    return rows, tokens // rows


def _merges(vision: Any) -> list[int]:
    """What the vision config says, then what is usual."""
    names = ("spatial_merge_size", "merge_size")
    told = [getattr(vision, name) for name in names if isinstance(getattr(vision, name, None), int)]
    return list(dict.fromkeys((*told, *_MERGES)))


def _rows(table: Any) -> list[list[int]]:
    """A tensor or lists as lists of ints, a single number per image in a list of its own."""
    if table is None:
        return []
    rows = table.tolist() if hasattr(table, "tolist") else list(table)
    rows = [row if isinstance(row, (list, tuple)) else [row] for row in rows]
    return [[int(entry) for entry in row] for row in rows]
