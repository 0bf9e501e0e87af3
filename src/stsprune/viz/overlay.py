"""Kept patches bright, dropped ones dimmed."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from stsprune.errors import InvalidArgumentError

#: What is left of a dropped patch's light, and of its colour.
LIGHT, COLOUR = 0.3, 0.4
EDGE = (255, 255, 255)


def dim_dropped(
    image: np.ndarray, kept: Iterable[int], grid: tuple[int, int], size: int = 576
) -> np.ndarray:
    """Enlarge a picture to about `size` pixels and dim the patches that are not kept.

    image: uint8 [H, W, 3], what the model saw; kept: row-major indices into the grid (rows,
    columns). Returns uint8 [h, w, 3] whose sides are multiples of the grid's.
    Raises InvalidArgumentError for another kind of picture or an index outside the grid.
    """
    from PIL import Image

    rows, columns = grid
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InvalidArgumentError(
            f"image must be uint8 [H, W, 3], got {image.dtype} {list(image.shape)}"
        )
    cells = np.zeros(rows * columns, bool)
    index = np.array(list(kept), dtype=np.int64)
    if index.size and (index.min() < 0 or index.max() >= cells.size):
        raise InvalidArgumentError(f"kept must hold indices in 0..{cells.size - 1} of the grid")
    cells[index] = True

    cell = max(8, size // max(rows, columns))
    large = Image.fromarray(image).resize((columns * cell, rows * cell), Image.Resampling.LANCZOS)
    bright = np.asarray(large, dtype=np.float32)
    grey = bright.mean(-1, keepdims=True)
    dimmed = LIGHT * (grey + COLOUR * (bright - grey))
    mask = cells.reshape(rows, columns).repeat(cell, 0).repeat(cell, 1)
    out = np.where(mask[..., None], bright, dimmed)
    out[_outline(mask, max(1, cell // 24))] = EDGE
    return out.clip(0, 255).astype(np.uint8)


def _outline(mask: np.ndarray, width: int) -> np.ndarray:
    """The kept area's pixels within `width` of a dropped one; the picture's rim stays clean."""
    inner = mask.copy()
    for axis in (0, 1):
        for step in range(1, width + 1):
            for sign in (step, -step):
                moved = np.roll(mask, sign, axis)
                edge = slice(0, step) if sign > 0 else slice(-step, None)
                rim = (edge, slice(None)) if axis == 0 else (slice(None), edge)
                moved[rim] = True
                inner &= moved
    return mask & ~inner
