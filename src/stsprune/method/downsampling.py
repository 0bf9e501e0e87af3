"""A smaller picture: the baseline that every method has to beat."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from stsprune.errors import InvalidArgumentError
from stsprune.selection.upload import upload

from .base import InstructionAttention, Method, Plan, VisualTokens, structure_plan

#: A plane's rectangles: (top, bottom, left, right) of each, in shares of the plane.
Tiling = list[tuple[float, float, float, float]]


@dataclass(frozen=True)
class Downsampling(Method):
    """Area interpolation of the features to a coarser grid; no content is looked at.

    Liao et al. (2510.07143) make the picture smaller until its tokens fit, and find that this beats
    many methods. Here a grid of H x W tokens is tiled by as many rectangles as the budget allows:
    rows of equal height, equal widths within a row, near square cells. Each rectangle becomes the
    mean of the features below it, weighted by area, and takes the place of the token at its centre.
    Differs from the paper: the encoder sees the whole picture and costs what it costs; what is
    averaged is projected features, which have attended to each other, not pixels; rows may differ
    by one cell, so that the whole budget is used; position ids are those of the kept tokens, not
    of a small picture. Several grids (thumbnail and picture, frames of a video) share the budget
    by their sizes; below one token each some are left out.
    """

    merges: ClassVar[bool] = True
    whole: ClassVar[bool] = True

    def plan(self, tokens: int, depth: int) -> Plan:
        """See `Method.plan`."""
        return structure_plan(self.budget, tokens)

    def select(self, visual: VisualTokens, keep: int) -> Tensor:
        """The tokens at the rectangles' centres, ascending, the same for every image."""
        chosen, start = [], 0
        for (height, width), count in _shares(visual, keep):
            chosen += [start + cell for cell in _centres(height, width, count)]
            start += height * width
        return upload(chosen, visual.features.device).expand(visual.features.shape[0], -1)

    def merge(
        self, states: Tensor, chosen: Tensor, stage: VisualTokens | InstructionAttention
    ) -> Tensor:
        """The mean below every rectangle."""
        assert isinstance(stage, VisualTokens)
        means, start = [], 0
        for (height, width), count in _shares(stage, chosen.shape[1]):
            end = start + height * width
            if count:
                bounds = upload(_tiling(height, width, count), states.device)
                rows = _overlaps(bounds[:, 0], bounds[:, 1], height)
                columns = _overlaps(bounds[:, 2], bounds[:, 3], width)
                weights = (rows[:, :, None] * columns[:, None]).flatten(1)
                weights = weights / weights.sum(1, keepdim=True)
                means.append(weights @ states[:, start:end].float())
            start = end
        return torch.cat(means, 1)


def _shares(visual: VisualTokens, keep: int) -> list[tuple[tuple[int, int], int]]:
    """((H, W), tokens it keeps) of every plane; the counts add up to `keep`."""
    tokens = visual.features.shape[1]
    found, before = [], 0
    for height, width in visual.grids:
        after = before + height * width
        found.append(((height, width), keep * after // tokens - keep * before // tokens))
        before = after
    if before != tokens:
        raise InvalidArgumentError(
            f"planes must hold the image's {tokens} visual tokens, got {before} in {visual.grids}"
        )
    return found


@lru_cache(maxsize=256)
def _layout(height: int, width: int, count: int) -> tuple[int, ...]:
    """Rectangles in each row: cells as square as can be, none smaller than a token."""
    fits = [rows for rows in range(1, min(height, count) + 1) if -(-count // rows) <= width]
    rows = min(fits, key=lambda rows: abs(math.log(rows * rows * width / (count * height))))
    return tuple(count * (row + 1) // rows - count * row // rows for row in range(rows))


@lru_cache(maxsize=256)
def _tiling(height: int, width: int, count: int) -> Tiling:
    layout = _layout(height, width, count)
    return [
        (row / len(layout), (row + 1) / len(layout), column / columns, (column + 1) / columns)
        for row, columns in enumerate(layout)
        for column in range(columns)
    ]


@lru_cache(maxsize=256)
def _centres(height: int, width: int, count: int) -> tuple[int, ...]:
    """Row-major cells at the rectangles' centres: distinct, since no rectangle is smaller."""
    if not count:
        return ()
    layout = _layout(height, width, count)
    return tuple(
        (2 * row + 1) * height // (2 * len(layout)) * width
        + (2 * column + 1) * width // (2 * columns)
        for row, columns in enumerate(layout)
        for column in range(columns)
    )


def _overlaps(low: Tensor, high: Tensor, cells: int) -> Tensor:
    """[K, cells]: how much of each interval [low, high] lies in each equal part of [0, 1]."""
    edges = torch.arange(cells + 1, device=low.device) / cells
    inside = torch.minimum(high[:, None], edges[1:]) - torch.maximum(low[:, None], edges[:-1])
    return inside.clamp_min(0)
