"""Families whose images are a view of the whole picture and further views of its parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..layout import Ids
from ..visual import Plane, Visual
from .base import Family, given
from .idefics import GraniteDocling
from .internvl import runs
from .table import Reader, Table, row


def _views(plane: Callable[[int], Plane], pixels: Callable[[Any], int], tail: int = 0) -> Reader:
    """Local views, then the global one; where the local ones lie is not told.

    plane: of a view, from its side in cells; pixels: per cell; tail: tokens behind the last view.
    """

    def read(model: Any, modality: str, arguments: dict[str, Any], ids: Ids) -> list[Visual]:
        cell = pixels(model)
        size = given(arguments, "pixel_values")
        whole = plane(math.ceil(size[-1] / cell))
        local = arguments.get("pixel_values_local")
        counts = arguments.get("num_local_patches")
        if counts is None:
            counts = [0] * size[0]
        part = None if local is None else plane(math.ceil(local[-1] / cell))
        last = Plane(whole.grid, tail=tail)
        return [
            Visual((*([part] * int(count) if part else ()), last), stacked=count > 0)
            for count in counts
        ]

    return read


def _molmo(model: Any, modality: str, arguments: dict[str, Any], ids: Ids) -> list[Visual]:
    """A small picture of the whole, then the whole from crops."""
    grids = given(arguments, "image_grids").tolist()
    return [
        Visual(tuple(Plane(grid) for grid in ((a, b), (c, d)) if grid[0] * grid[1]))
        for a, b, c, d in grids
    ]


class Molmo2(Table):
    """All visual tokens of a prompt are one block of bidirectional attention."""

    def blocks(self, model: Any, arguments: dict[str, Any]) -> Tensor | None:
        """See `Family.blocks`."""
        kinds = arguments.get("mm_token_type_ids")
        return None if kinds is None else torch.where(kinds == 1, 0, -1)


class Llama4(Family):
    """Tiles with separators between them, then the whole picture in one tile."""

    name = "Llama 4"
    classes = ("Llama4ForConditionalGeneration",)

    def inner(self, model: Any) -> Any:
        """See `Family.inner`."""
        return model

    def decoder(self, model: Any) -> Any:
        """See `Family.decoder`."""
        return model.language_model.model

    def visuals(
        self, model: Any, modality: str, arguments: dict[str, Any], ids: Ids
    ) -> Sequence[Visual]:
        """See `Family.visuals`: a picture begins where its begin token stands."""
        vision = model.config.vision_config
        side = int(vision.image_size // vision.patch_size * vision.pixel_shuffle_ratio)
        found: list[Visual] = []
        for line in ids.ids.tolist():
            gaps: list[list[int]] = []
            end = 0
            for start, stop in runs([token == model.config.image_token_id for token in line]):
                gap, end = line[end:start], stop
                if not gaps or model.config.boi_token_index in gap:
                    found += [_tiles(gaps, side)] if gaps else []
                    gaps = [gap]
                else:
                    gaps.append(gap)
            found += [_tiles(gaps, side)] if gaps else []
        return found


def _tiles(gaps: Sequence[list[int]], side: int) -> Visual:
    """gaps: what stands before each tile; the last one begins with the end of a row."""
    whole = Plane((side, side))
    if len(gaps) < 2:
        return Visual((whole,))
    rows = sum(gap[0] == gaps[-1][0] for gap in gaps[1:])
    columns, odd = divmod(len(gaps) - 1, rows)
    if odd:
        return Visual((whole,) * len(gaps), stacked=True)
    return Visual((Plane((rows * side, columns * side), (rows, columns)), whole))


VIEWS: tuple[Family, ...] = (
    row(
        "Step 3.7",
        "Step3p7ForConditionalGeneration",
        _views(
            lambda side: Plane((side, side)),
            lambda model: 4 * model.config.vision_config.patch_size,
        ),
    ),
    row(
        "DeepSeek-OCR 2",
        "DeepseekOcr2ForConditionalGeneration",
        # Its tokens are queries in a row, without a place of their own.
        _views(
            lambda side: Plane((1, 144 if side <= 12 else 256)),
            lambda model: 4 * model.config.vision_config.sam_config.patch_size,
            tail=1,
        ),
    ),
    row("Molmo 2", "Molmo2ForConditionalGeneration", _molmo, Molmo2),
    Llama4(),
    GraniteDocling(),
)
