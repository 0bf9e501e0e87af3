"""Idefics3 and SmolVLM: tiles with their row and column named in the text, then a thumbnail."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, ClassVar

from stsprune.errors import UnsupportedModeError

from ..layout import Ids
from ..visual import Plane, Visual, square
from .base import Family, square_side
from .internvl import runs


class Idefics3(Family):
    """The processor writes <fake><row_1_col_1>tile<fake><row_1_col_2>tile newline ... thumbnail.

    What stands between two tiles tells which belong to one picture and where its rows end. Tiles
    that do not follow this grammar are images of their own.
    """

    name = "Idefics3"
    classes: ClassVar[tuple[str, ...]] = ("Idefics3ForConditionalGeneration",)

    def visuals(
        self, model: Any, modality: str, arguments: dict[str, Any], ids: Ids
    ) -> Sequence[Visual]:
        """See `Family.visuals`."""
        cells = self.cells(model, arguments)
        found: list[Visual] = []
        for row in ids.ids.tolist():
            tiles = []
            for start, end in runs([token == model.config.image_token_id for token in row]):
                if (end - start) % cells:
                    raise UnsupportedModeError(
                        f"input_ids must hold whole tiles of {cells} image tokens, got a run of "
                        f"{end - start}: was the prompt truncated?"
                    )
                tiles += [(at, at + cells) for at in range(start, end, cells)]
            found += _pictures(row, tiles, square_side(cells))
        return found

    def cells(self, model: Any, arguments: dict[str, Any]) -> int:
        """Image tokens per tile."""
        vision = model.config.vision_config
        side = vision.image_size // vision.patch_size // model.config.scale_factor
        return int(side * side)


class SmolVLM(Idefics3):
    """As Idefics3; the frames of a video are images of their own."""

    name = "SmolVLM"
    classes = ("SmolVLMForConditionalGeneration",)


class GraniteDocling(Idefics3):
    """As Idefics3, with deepstack; a finer route gives four times as many tokens."""

    name = "Granite Docling"
    classes = ("GraniteDoclingForConditionalGeneration",)

    def cells(self, model: Any, arguments: dict[str, Any]) -> int:
        """See `Idefics3.cells`."""
        vision = model.config.vision_config
        side = vision.image_size // vision.patch_size // vision.scale_factor
        return int(side * side) * (1 if arguments.get("tile_fine_mask") is None else 4)


def _pictures(row: list[int], tiles: list[tuple[int, int]], side: int) -> list[Visual]:
    """Put the tiles of one prompt together to pictures."""
    found: list[Visual] = []
    at = 0
    while at < len(tiles):
        widths, used = _rows_of_tiles(row, tiles[at:])
        if used > 1:
            rows, columns = len(widths), widths[0]
            grid = Plane((rows * side, columns * side), (rows, columns))
            found.append(Visual((grid, Plane((side, side)))))
        else:
            found.append(square(side))
        at += used
    return found


def _rows_of_tiles(row: list[int], tiles: list[tuple[int, int]]) -> tuple[list[int], int]:
    """(tiles in each row, tiles used) of the picture that starts with the first tile.

    ([], 1) where it is a picture of one tile.
    """
    if len(tiles) < 2 or tiles[0][0] < 2:
        return [], 1
    fake = row[tiles[0][0] - 2]
    widths = [1]
    for number, (before, after) in enumerate(itertools.pairwise(tiles), 1):
        gap = row[before[1] : after[0]]
        if len(gap) == 2 and gap[0] == fake:
            widths[-1] += 1
        elif 3 <= len(gap) <= 4 and gap[-2] == fake and fake not in gap[:-2]:
            widths.append(1)
        else:
            break
        # A thumbnail alone in its row, behind rows of equal length, ends the picture.
        closed = after[1] < len(row) and row[after[1]] == fake
        follows = tiles[number + 1][0] - after[1] if number + 1 < len(tiles) else 0
        if len(widths) > 1 and widths[-1] == 1 and closed and follows != 2:
            return (widths[:-1], number + 1) if len(set(widths[:-1])) == 1 else ([], 1)
    return [], 1
