"""Which visual tokens of a prompt's images an encoder stage left."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from stsprune.errors import UnsupportedModeError

from ..layout import Layout
from ..visual import Visual
from .stage import Encoded


def candidates(layout: Layout, encoded: dict[str, Encoded]) -> dict[int, Tensor]:
    """Image of the layout -> int64 [K], ascending numbers of the visual tokens that are there.

    encoded: per modality. Rows that are repeated for beams share what was encoded once.
    Raises UnsupportedModeError where an image's placeholders are not its pictures' rows.
    """
    found: dict[int, Tensor] = {}
    rows = len(layout.text_start)
    for modality, one in encoded.items():
        images = [
            number
            for number, visual in enumerate(layout.visuals)
            if visual.video == (modality == "video")
        ]
        counts = [frames * high * wide for frames, high, wide in one.grids]
        times = max(1, sum(layout.visuals[number].length for number in images) // sum(counts))
        by_row = [[n for n in images if layout.image_rows[n] == row] for row in range(rows)]
        pictures = iter(zip(counts, one.kept, strict=True))
        for first in range(0, rows, times):
            for place, image in enumerate(by_row[first]):
                kept = _of_image(layout.visuals[image], pictures)
                for row in range(first, first + times):
                    found[by_row[row][place]] = kept
    return found


def _of_image(visual: Visual, pictures: Iterator[tuple[int, Tensor]]) -> Tensor:
    """An image's pictures, one after the other, as its visual tokens."""
    start, kept = 0, []
    while start < visual.length:
        count, rows = next(pictures, (0, None))
        if rows is None:
            break
        kept.append(rows + start)
        start += count
    if start != visual.length:
        raise UnsupportedModeError(
            "encoder must be None for images that are packed from tiles of another size: "
            f"{visual.length} placeholders for {start} tokens of the vision tower"
        )
    rows = torch.cat(kept)
    if len(visual.planes) == 1 and visual.planes[0].tiles == (1, 1):
        return rows
    stays = torch.zeros(start, dtype=torch.bool, device=rows.device)
    stays[rows] = True
    tokens = stays[visual.offsets().to(rows.device, non_blocking=True)]
    # A stable sort: how many there are is known, and asking the device would mean waiting.
    return tokens.long().sort(descending=True, stable=True).indices[: len(rows)]
