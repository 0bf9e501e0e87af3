"""Positions of an image's visual tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F


def cell_centres(height: int, width: int, device: torch.device | str | None = None) -> torch.Tensor:
    """Cell centres (x, y) of a row-major grid -> float32 [height * width, 2] in (0, 1)."""
    y = (torch.arange(height, device=device, dtype=torch.float32) + 0.5) / height
    x = (torch.arange(width, device=device, dtype=torch.float32) + 0.5) / width
    return torch.stack((x.repeat(height), y.repeat_interleave(width)), dim=-1)


def grown(marked: torch.Tensor, planes: Sequence[tuple[int, ...]]) -> torch.Tensor:
    """Marks and those of their four neighbours in place.

    marked: float [I, N], 1 where marked, else 0; planes: (H, W) of the row-major grids that the
    tokens lie on, one after the other. Returns the same shape.
    """
    parts = marked.split([height * width for height, width in planes], 1)
    found = []
    for part, (height, width) in zip(parts, planes, strict=True):
        grid = part.view(-1, 1, height, width)
        columns = F.max_pool2d(grid, (3, 1), 1, (1, 0))
        rows = F.max_pool2d(grid, (1, 3), 1, (0, 1))
        found.append(torch.maximum(columns, rows).flatten(1))
    return torch.cat(found, 1)
