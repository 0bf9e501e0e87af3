"""From a tower's pictures to a prompt's images: what stage and view found, by visual token."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stsprune.errors import UnsupportedModeError

from ..layout import Layout
from ..visual import Visual


def pictures_of(layout: Layout, modality: str, counts: Sequence[int]) -> dict[int, list[int]]:
    """Image of the layout -> the numbers of its pictures, among those of one modality.

    counts: visual tokens of every picture. Rows that are repeated for beams share what was encoded
    once. Raises UnsupportedModeError where an image's visual tokens are not its pictures' rows.
    """
    found: dict[int, list[int]] = {}
    rows = len(layout.text_start)
    images = [
        number
        for number, visual in enumerate(layout.visuals)
        if visual.video == (modality == "video")
    ]
    times = max(1, sum(layout.visuals[image].tokens for image in images) // max(sum(counts), 1))
    by_row = [[n for n in images if layout.image_rows[n] == row] for row in range(rows)]
    at = 0
    for first in range(0, rows, times):
        for place, image in enumerate(by_row[first]):
            wanted, held, numbers = layout.visuals[image].tokens, 0, []
            while held < wanted and at < len(counts):
                numbers.append(at)
                held += counts[at]
                at += 1
            if held != wanted:
                raise UnsupportedModeError(
                    "method must not look into the encoder of images that are packed from tiles "
                    f"of another size: {wanted} visual tokens for {held} tokens of the vision tower"
                )
            for row in range(first, first + times):
                found[by_row[row][place]] = numbers
    return found


def by_token(visual: Visual, rows: Sequence[Tensor]) -> Tensor:
    """An image's pictures [N_p, ...], one after the other, in the order of its visual tokens."""
    together = torch.cat(list(rows))
    if _in_order(visual):
        return together
    return together[visual.offsets().to(together.device, non_blocking=True)]


def kept_tokens(visual: Visual, kept: Sequence[Tensor], counts: Sequence[int]) -> Tensor:
    """int64 [K], ascending: the visual tokens of what each picture of `counts` tokens kept."""
    starts = [sum(counts[:number]) for number in range(len(counts))]
    rows = torch.cat([part + start for part, start in zip(kept, starts, strict=True)])
    if _in_order(visual):
        return rows
    stays = torch.zeros(sum(counts), dtype=torch.bool, device=rows.device)
    stays[rows] = True
    tokens = stays[visual.offsets().to(rows.device, non_blocking=True)]
    # A stable sort: how many there are is known, and asking the device would mean waiting.
    return tokens.long().sort(descending=True, stable=True).indices[: len(rows)]


def _in_order(visual: Visual) -> bool:
    return all(plane.tiles == (1, 1) for plane in visual.planes)
