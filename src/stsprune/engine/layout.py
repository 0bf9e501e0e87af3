"""Where the visual tokens of a batch of prompts sit, worked out once per prompt on the host."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stsprune.errors import InvalidArgumentError, UnsupportedModeError

Grid = tuple[int, int]


@dataclass(frozen=True)
class Bucket:
    """Images of one size, so that they can be handled at once.

    grid: (H, W); images: their numbers in the batch; rows [I] and columns [I, N] of their tokens
    in the unpruned prompt; text: tokens behind the last image of each image's row.
    """

    grid: Grid
    images: tuple[int, ...]
    rows: Tensor
    columns: Tensor
    text: list[int]


@dataclass(frozen=True)
class Layout:
    """Unpruned prompts [B, T]: valid and visual are bool [B, T], on the model's device."""

    buckets: list[Bucket]
    image_rows: list[int]
    grids: list[Grid]
    valid: Tensor
    visual: Tensor
    valid_counts: list[int]


def lay_out(
    input_ids: Tensor, attention_mask: Tensor | None, image_token: int, grids: list[Grid]
) -> Layout:
    """Find every image's tokens; one transfer to the host.

    input_ids [B, T]; attention_mask [B, T] or None; grids: (H, W) per image, in order.
    Raises InvalidArgumentError or UnsupportedModeError where prompt and images do not fit.
    """
    device, (batch, length) = input_ids.device, input_ids.shape
    if attention_mask is None:
        attention_mask = torch.ones_like(input_ids)
    if attention_mask.shape != input_ids.shape:
        raise UnsupportedModeError(
            f"attention_mask must be {[batch, length]} like input_ids at the prompt (no chunked "
            f"prefill, no ready-made 4-D mask), got {list(attention_mask.shape)}"
        )
    both = torch.stack((input_ids, attention_mask.to(input_ids))).cpu()
    visual, valid = both[0] == image_token, both[1] != 0
    if bool((valid[:, :-1] & ~valid[:, 1:]).any()):
        raise UnsupportedModeError(
            "attention_mask must pad on the left: set processor.tokenizer.padding_side = 'left'"
        )
    rows, columns = visual.nonzero(as_tuple=True)
    sizes = [height * width for height, width in grids]
    if len(rows) != sum(sizes):
        raise InvalidArgumentError(
            f"input_ids must hold {sum(sizes)} visual tokens for {len(grids)} images, got "
            f"{len(rows)}: was the prompt truncated?"
        )
    last = {row: int(column) for row, column in zip(rows.tolist(), columns.tolist(), strict=True)}
    image_rows = [int(part[0]) for part in rows.split(sizes)]
    if any(int(part[-1]) != row for part, row in zip(rows.split(sizes), image_rows, strict=True)):
        raise InvalidArgumentError("input_ids must hold each image's tokens within one prompt")
    parts = columns.split(sizes)
    buckets = []
    for grid in dict.fromkeys(grids):
        images = tuple(i for i, other in enumerate(grids) if other == grid)
        buckets.append(
            Bucket(
                grid,
                images,
                torch.tensor([image_rows[i] for i in images], device=device),
                torch.stack([parts[i] for i in images]).to(device),
                [length - 1 - last[image_rows[i]] for i in images],
            )
        )
    return Layout(
        buckets, image_rows, grids, valid.to(device), visual.to(device), valid.sum(1).tolist()
    )
