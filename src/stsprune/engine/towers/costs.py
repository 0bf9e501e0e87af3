"""What an image encoder costs in theory: FLOPs of its patches, layers and projector."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stsprune.errors import UnsupportedModelError

from .base import Grid, Order, Tower
from .stage import Encoded


def encoder_flops(tower: Tower, encoded: Encoded, patch_weights: int) -> int:
    """Multiplications and additions of the matrix products for one encoding.

    encoded: what it kept, all for the unpruned encoder; patch_weights: numbers in the
    weights that make a patch's embedding. The choice itself is not among them. Raises
    UnsupportedModelError for towers whose projector looks at the whole picture.
    """
    if any(refill.before or refill.prefix for refill in tower.refills):
        raise UnsupportedModelError("the encoder's FLOPs are known of row-wise projectors only")
    order, pictures = tower.order, list(zip(encoded.grids, encoded.kept, strict=True))
    every = [(grid, torch.arange(_tokens(grid))) for grid in encoded.grids]
    total = 2 * patch_weights * sum(order.patches(grid) for grid in encoded.grids)
    for number, block in enumerate(tower.blocks):
        held = pictures if number >= encoded.layer else every
        windowed = tower.full is not None and number not in tower.full
        weights, width = matrices(block), block_width(block)
        for grid, kept in held:
            rows = len(kept) * order.unit + order.prefix
            spans = _spans(order, grid, kept, windowed)
            total += 2 * rows * weights + 4 * sum(span * span for span in spans) * width
    for refill in tower.refills:
        late = refill.after is None or refill.after >= encoded.layer
        rows = sum(len(kept) for _, kept in (pictures if late else every))
        total += 2 * rows * matrices(refill.module)
    return total


def matrices(module: Any) -> int:
    """Numbers in a module's weight matrices."""
    return sum(weight.numel() for weight in module.parameters() if weight.ndim == 2)


def block_width(block: Any) -> int:
    """Width of a layer's hidden states."""
    return int(next(weight for weight in block.parameters() if weight.ndim == 1).shape[0])


def _tokens(grid: Grid) -> int:
    return grid[0] * grid[1] * grid[2]


def _spans(order: Order, grid: Grid, kept: Tensor, windowed: bool) -> list[int]:
    """Patches that attend to each other: of a frame, or of each window."""
    _, rows, columns = grid
    kept = kept.cpu()
    frame, cell = kept // (rows * columns), kept % (rows * columns)
    part = frame
    if windowed:
        assert order.window is not None
        across, down = -(-columns // order.window), -(-rows // order.window)
        window = cell // columns // order.window * across + cell % columns // order.window
        part = frame * across * down + window
    return [int(n) * order.unit + order.prefix for n in part.bincount() if n]
