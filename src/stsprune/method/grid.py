"""A regular lattice of tokens before the LLM: the uniform baseline."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from torch import Tensor

from stsprune.selection.upload import upload

from .base import Method, Plan, VisualTokens, structure_plan


@dataclass(frozen=True)
class Grid(Method):
    """Evenly spaced tokens, as good a lattice as their number allows.

    On one H x W grid: rows x columns closest to the picture's proportions that hold at least the
    budget, thinned evenly to it. On several grids (tiles, frames): every n-th token in order.
    """

    def plan(self, tokens: int, depth: int) -> Plan:
        """See `Method.plan`."""
        return structure_plan(self.budget, tokens)

    def select(self, visual: VisualTokens, keep: int) -> Tensor:
        """The lattice, the same for every image."""
        images, tokens, _ = visual.features.shape
        single = len(visual.grid) == 2 and math.prod(visual.grid) == tokens
        cells = _lattice(*visual.grid, keep) if single else _evenly(tokens, keep)
        return upload(cells, visual.features.device).expand(images, -1)


def _evenly(count: int, keep: int) -> list[int]:
    return [(2 * i + 1) * count // (2 * keep) for i in range(keep)]


@lru_cache(maxsize=256)
def _lattice(height: int, width: int, keep: int) -> list[int]:
    shapes = [(r, c) for r in range(1, height + 1) for c in range(1, width + 1) if keep <= r * c]
    # Equal gaps both ways, then as few cells too many as possible.
    rows, columns = min(
        shapes,
        key=lambda rc: abs(math.log(rc[0] * width / (rc[1] * height))) + rc[0] * rc[1] / keep,
    )
    cells = [y * width + x for y in _evenly(height, rows) for x in _evenly(width, columns)]
    return [cells[i] for i in _evenly(len(cells), keep)]
