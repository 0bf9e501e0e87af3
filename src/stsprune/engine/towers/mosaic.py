"""Pictures that become visual tokens only when they are put together: LLaVA-NeXT and its kin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..families import family_of
from ..families.anyres import pairs, tiling, unpadded
from ..families.base import given
from ..layout import NO_IDS
from ..visual import Visual

#: [frames, C, H, W] and the (rows, columns) of the visual tokens -> [frames, C, rows, columns]
Shrink = Callable[[Tensor, tuple[int, ...]], Tensor]


@dataclass(frozen=True)
class Mosaic:
    """An image's pictures, thumbnail first and then its tiles, or the frames of a video.

    visual: what the language model gets; size: (height, width) of an image in pixels, tiles: (rows,
    columns) it was cut into; both None for a video and tiles for a lone thumbnail; shrink: how the
    model makes a frame or a large picture smaller.
    """

    visual: Visual
    size: tuple[int, int] | None
    tiles: tuple[int, int] | None
    shrink: Shrink

    @property
    def pictures(self) -> int:
        """How many the tower sees."""
        if self.size is None:
            return len(self.visual.planes)
        return 1 if self.tiles is None else 1 + self.tiles[0] * self.tiles[1]

    def tokens(self, values: Tensor) -> Tensor:
        """Values of patches [pictures, P, C] as the model makes tokens of patches: [N, C]."""
        side = int(values.shape[1] ** 0.5)
        grid = values.unflatten(1, (side, side)).permute(0, 3, 1, 2)
        if self.size is None:
            frames = self.shrink(grid, self.visual.planes[0].grid)
            return frames.permute(0, 2, 3, 1).flatten(0, 2)
        parts = [grid[0]]
        if self.tiles is not None:
            whole = grid[1:].unflatten(0, self.tiles).permute(2, 0, 3, 1, 4)
            picture = unpadded(whole.flatten(3).flatten(1, 2), self.size)
            wanted = self.visual.planes[1].grid
            if tuple(picture.shape[1:]) != wanted:
                picture = self.shrink(picture[None], wanted)[0]
            parts.append(picture)
        return torch.cat([part.flatten(1) for part in parts], 1).T


def interpolated(frames: Tensor, grid: tuple[int, ...]) -> Tensor:
    """As LLaVA-OneVision makes frames and large pictures smaller."""
    return F.interpolate(frames, size=grid, mode="bilinear")


def pooled(frames: Tensor, grid: tuple[int, ...]) -> Tensor:
    """As LLaVA-NeXT-Video makes frames smaller where it averages."""
    return F.adaptive_avg_pool2d(frames, (grid[0], grid[1]))


def mosaics(model: Any, shrink: Shrink) -> Callable[[str, Mapping[str, Any]], list[Mosaic]]:
    """What makes the mosaics of a call (modality, the encoder's arguments, pixels as shapes)."""

    def made(modality: str, arguments: Mapping[str, Any]) -> list[Mosaic]:
        visuals = family_of(model).visuals(model, modality, dict(arguments), NO_IDS)
        if modality == "video":
            return [Mosaic(visual, None, None, shrink) for visual in visuals]
        sizes = pairs(given(dict(arguments), "image_sizes"))
        return [
            Mosaic(visual, size, tiling(model, size) if len(visual.planes) > 1 else None, shrink)
            for visual, size in zip(visuals, sizes, strict=True)
        ]

    return made
