"""Where the visual tokens of a batch of prompts sit, worked out once per prompt on the host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stsprune.errors import InvalidArgumentError, UnsupportedModeError
from stsprune.selection.upload import upload

from .compat import CACHE
from .visual import Visual


@dataclass(frozen=True)
class Bucket:
    """Images of one shape and one budget, so that they can be handled at once.

    visual: their shape; images: their numbers in the batch; rows [I] and columns [I, N] of their
    tokens in the prompt, in the order of `Visual.offsets`; text: tokens behind the last image of
    each image's row; budget: of each image, None where it is the method's own.
    """

    visual: Visual
    images: tuple[int, ...]
    rows: Tensor
    columns: Tensor
    text: list[int]
    budget: int | None = None


@dataclass(frozen=True)
class Layout:
    """Prompts [B, T]: valid and visual (what may be dropped) are bool [B, T] on the device.

    visuals and image_rows: per image, in the order of the batch; text_start: per row, the column
    behind its last placeholder, 0 in a row without image.
    """

    buckets: list[Bucket]
    visuals: list[Visual]
    image_rows: list[int]
    valid: Tensor
    visual: Tensor
    valid_counts: list[int]
    text_start: list[int]


@dataclass(frozen=True)
class Ids:
    """Token ids of a call on the host, and which of them are real.

    ids int64 [B, T], valid bool [B, T]; device: where the model's tensors are.
    """

    ids: Tensor
    valid: Tensor
    device: torch.device


#: For images whose shapes do not depend on their prompt.
NO_IDS = Ids(torch.zeros(0), torch.zeros(0), torch.device("cpu"))


def read_ids(input_ids: Tensor, attention_mask: Tensor | None, past: int) -> Ids:
    """The one transfer to the host; attention_mask [B, past + T] or None.

    Raises UnsupportedModeError for masks that pruning cannot follow.
    """
    batch, length = input_ids.shape
    if attention_mask is None:
        attention_mask = torch.ones_like(input_ids)
    elif tuple(attention_mask.shape) != (batch, past + length):
        cached = f"{CACHE} holds {past} tokens and " if past else ""
        raise UnsupportedModeError(
            f"attention_mask must be {[batch, past + length]}: {cached}input_ids brings {length} "
            "at the prompt (no chunked prefill, no ready-made 4-D mask, no cache of another "
            f"length), got {list(attention_mask.shape)}"
        )
    mask = attention_mask[:, -length:]
    both = torch.stack((input_ids, mask.to(input_ids))).cpu()
    valid = both[1] != 0
    if bool((valid[:, :-1] & ~valid[:, 1:]).any()):
        raise UnsupportedModeError(
            "attention_mask must pad on the left: set processor.tokenizer.padding_side = 'left'"
        )
    return Ids(both[0], valid, input_ids.device)


def lay_out(
    read: Ids, tokens: Mapping[str, int], visuals: Mapping[str, Sequence[Visual]]
) -> Layout:
    """Find every image's tokens.

    tokens: placeholder id per modality; visuals: shapes per modality, in the order of the batch.
    Raises InvalidArgumentError where prompt and images do not fit.
    """
    found: list[tuple[int, int, Visual, Tensor]] = []  # row, first column, shape, columns
    batch, length = read.ids.shape
    last = [-1] * batch
    for modality, shapes in visuals.items():
        rows, columns = (read.ids == tokens[modality]).nonzero(as_tuple=True)
        shapes = _repeated(list(shapes), rows, batch, modality)
        start = 0
        for shape in shapes:
            row, places = rows[start : start + shape.length], columns[start : start + shape.length]
            if row[0] != row[-1]:
                raise InvalidArgumentError(
                    f"input_ids must hold each {modality}'s tokens within one prompt"
                )
            start += shape.length
            number = int(row[0])
            found.append((number, int(places[0]), shape, places[shape.offsets()]))
            last[number] = max(last[number], int(places[-1]))
    found.sort(key=lambda entry: entry[:2])
    visual = torch.zeros(batch, length, dtype=torch.bool)
    for number, _, _, places in found:
        visual[number, places] = True
    layout = Layout(
        [],
        [shape for _, _, shape, _ in found],
        [row for row, *_ in found],
        read.valid.to(read.device, non_blocking=True),
        visual.to(read.device, non_blocking=True),
        read.valid.sum(1).tolist(),
        [column + 1 for column in last],
    )
    layout.buckets.extend(buckets(layout, [c for *_, c in found], [None] * len(found)))
    return layout


def buckets(
    layout: Layout, columns: Sequence[Tensor], budgets: Sequence[int | None]
) -> list[Bucket]:
    """Group images of equal shape and equal budget; columns: per image, [N]."""
    device, length = layout.valid.device, layout.valid.shape[1]
    keys = list(zip(layout.visuals, budgets, strict=True))
    groups = []
    for key in dict.fromkeys(keys):
        images = tuple(i for i, other in enumerate(keys) if other == key)
        rows = [layout.image_rows[i] for i in images]
        groups.append(
            Bucket(
                key[0],
                images,
                upload(rows, device),
                torch.stack([columns[i] for i in images]).to(device, non_blocking=True),
                [length - layout.text_start[row] for row in rows],
                key[1],
            )
        )
    return groups


def _repeated(shapes: list[Visual], rows: Tensor, batch: int, modality: str) -> list[Visual]:
    """Shapes as the rows need them: beam search and sampling repeat each row with its images."""
    expected = sum(shape.length for shape in shapes)
    times, odd = divmod(len(rows), expected) if expected else (0, 1)
    if odd or times < 1 or batch % times:
        raise InvalidArgumentError(
            f"input_ids must hold {expected} {modality} tokens for {len(shapes)} {modality}s, got "
            f"{len(rows)}: was the prompt truncated?"
        )
    if times == 1:
        return shapes
    counts = torch.bincount(rows, minlength=batch)[::times].tolist()
    out, start = [], 0
    for wanted in counts:
        group: list[Visual] = []
        while sum(shape.length for shape in group) < wanted:
            group.append(shapes[start])
            start += 1
        out += group * times
    return out
