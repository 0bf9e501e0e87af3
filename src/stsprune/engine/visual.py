"""Where the visual tokens of one image or video lie: on its grids and among its placeholders.

A plane is one grid of visual tokens: an image, its thumbnail, its tiles put together, a frame of a
video. The prompt holds the planes one after the other; newline and tail tokens between them belong
to no cell and are never pruned.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from stsprune.selection.grid import cell_centres


@dataclass(frozen=True)
class Plane:
    """One grid of H x W visual tokens.

    tiles: (rows, columns) of the tiles that the prompt holds one after the other, each row-major;
    newline: whether a token follows every row of the grid; head and tail: further tokens before and
    behind the plane.
    """

    grid: tuple[int, int]
    tiles: tuple[int, int] = (1, 1)
    newline: bool = False
    tail: int = 0
    head: int = 0

    @property
    def length(self) -> int:
        """Placeholders in the prompt."""
        height, width = self.grid
        return self.head + height * (width + self.newline) + self.tail

    def offsets(self) -> Tensor:
        """int64 [H * W]: the placeholder of every cell, row-major over the whole grid."""
        (height, width), (rows, columns) = self.grid, self.tiles
        row = torch.arange(height)[:, None]
        column = torch.arange(width)[None]
        if self.tiles == (1, 1):
            return (self.head + row * (width + self.newline) + column).flatten()
        high, wide = height // rows, width // columns
        tile = row // high * columns + column // wide
        return (self.head + tile * high * wide + row % high * wide + column % wide).flatten()


@dataclass(frozen=True)
class Visual:
    """One image or video as the language model gets it.

    planes: in the order of the prompt; stacked: whether the planes are different content that a
    third coordinate tells apart (frames, tiles of unknown place), not one picture at several
    scales; video: whether the planes are the frames of a video.
    """

    planes: tuple[Plane, ...]
    stacked: bool = False
    video: bool = False

    @property
    def length(self) -> int:
        """Placeholders in the prompt."""
        return sum(plane.length for plane in self.planes)

    @property
    def tokens(self) -> int:
        """Visual tokens that pruning may drop."""
        return sum(plane.grid[0] * plane.grid[1] for plane in self.planes)

    @property
    def grid(self) -> tuple[int, ...]:
        """(T, H, W) of a video, else (H, W) of the finest plane."""
        finest = max((plane.grid for plane in self.planes), key=lambda grid: grid[0] * grid[1])
        return (len(self.planes), *finest) if self.video else finest

    def in_finest(self, kept: Tensor) -> Tensor:
        """Those of `kept` (indices of visual tokens) that lie in the finest plane, by its cells."""
        sizes = [plane.grid[0] * plane.grid[1] for plane in self.planes]
        number = sizes.index(max(sizes))
        local = kept - sum(sizes[:number])
        return local[(local >= 0) & (local < sizes[number])]

    def offsets(self) -> Tensor:
        """int64 [N]: the placeholder of every visual token, plane after plane, row-major."""
        return _offsets(self)

    def positions(self) -> Tensor:
        """float32 [N, 2] cell centres (x, y), or [N, 3] with the plane's place: `stacked`."""
        return _positions(self)


@lru_cache(maxsize=256)
def _offsets(visual: Visual) -> Tensor:
    parts, start = [], 0
    for plane in visual.planes:
        parts.append(plane.offsets() + start)
        start += plane.length
    return torch.cat(parts)


@lru_cache(maxsize=256)
def _positions(visual: Visual) -> Tensor:
    parts = [cell_centres(*plane.grid) for plane in visual.planes]
    if visual.stacked:
        count = len(parts)
        parts = [
            torch.cat([part, torch.full((len(part), 1), (number + 0.5) / count)], 1)
            for number, part in enumerate(parts)
        ]
    return torch.cat(parts)


def square(side: int) -> Visual:
    """A picture of side x side visual tokens and nothing else."""
    return Visual((Plane((side, side)),))
