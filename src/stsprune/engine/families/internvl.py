"""InternVL (transformers' port): tiles of one size, a thumbnail behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stsprune.errors import UnsupportedModeError

from ..layout import Ids
from ..visual import Plane, Visual
from .base import Family


class InternVL(Family):
    """A run of image tokens is one image; the model is not told how its tiles are arranged.

    So tiles are told apart by a third coordinate, not by their place in the picture.
    """

    name = "InternVL 3"
    classes = ("InternVLForConditionalGeneration",)

    def visuals(
        self, model: Any, modality: str, arguments: dict[str, Any], ids: Ids
    ) -> Sequence[Visual]:
        """See `Family.visuals`."""
        tile = tiles(model.config, 1).length
        found = []
        for row in ids.ids == model.config.image_token_id:
            for run in runs(row.tolist()):
                count, odd = divmod(run[1] - run[0], tile)
                if odd:
                    raise UnsupportedModeError(
                        f"input_ids must hold whole tiles of {tile} image tokens, got a "
                        f"run of {run[1] - run[0]}: was the prompt truncated?"
                    )
                found.append(tiles(model.config, count))
        return found


def tiles(config: Any, count: int) -> Visual:
    """An image of `count` tiles, the thumbnail among them."""
    vision, ratio = config.vision_config, config.downsample_ratio
    height, width = (
        int(pixels // patch * ratio)
        for pixels, patch in zip(vision.image_size, vision.patch_size, strict=True)
    )
    return Visual((Plane((height, width)),) * count, stacked=count > 1)


def runs(marks: Sequence[bool]) -> list[tuple[int, int]]:
    """(start, end) of every run of True."""
    found: list[tuple[int, int]] = []
    for column, mark in enumerate(marks):
        if not mark:
            continue
        if found and found[-1][1] == column:
            found[-1] = (found[-1][0], column + 1)
        else:
            found.append((column, column + 1))
    return found
