"""Rotary positions of a pruned prompt.

What is kept is known only once the encoder has run, and never where a cached prefix saves that. So
before the encoder the positions of everything but the images are final, as in the unpruned prompt,
and an image's places hold a negative mark that says where the image begins; the encoder's rows
bring the rest (`channels`). A mark is resolved once: a request that starts again finds it done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

#: Positions of a prompt: (its tokens) -> int64 [3, N].
Positions = Callable[[], Tensor]


@dataclass(frozen=True)
class Gap:
    """An image in a pruned prompt: its first place, how many places it has, how many it had."""

    start: int
    kept: int
    length: int


def stretch(tokens: Sequence[int], gaps: Sequence[Gap]) -> tuple[list[int], Tensor]:
    """The unpruned prompt, and the place in it of every token of the pruned one, int64 [N].

    gaps: in the order of the prompt.
    """
    out: list[int] = []
    index: list[Tensor] = []
    end = 0
    for gap in gaps:
        index.append(torch.arange(gap.start - end) + len(out))
        out += tokens[end : gap.start]
        index.append(torch.full((gap.kept,), len(out)))
        out += [tokens[gap.start]] * gap.length
        end = gap.start + gap.kept
    index.append(torch.arange(len(tokens) - end) + len(out))
    out += tokens[end:]
    return out, torch.cat(index)


def marked(full: Tensor, index: Tensor, gaps: Sequence[Gap]) -> tuple[Tensor, int]:
    """Positions of the pruned prompt, int64 [3, N], with marks in its images, and what to add to a
    later token's place to get its position.

    full: positions of the unpruned prompt, [3, L]; index: of `stretch`.
    """
    positions = full[:, index].clone()
    for gap in gaps:
        span = slice(gap.start, gap.start + gap.kept)
        positions[:, span] = -1 - positions[:, span]
    return positions, int(full.max()) + 1 - len(index)


def resolve(positions: Tensor, rowed: Tensor, offsets: Tensor) -> Tensor:
    """Positions [3, N] with the marks of the first K places of `rowed` resolved by `offsets`.

    rowed: bool [N], the placeholders that rows of an encoder may stand at; offsets: int64 [K, 3],
    negative for a row whose position is final. No synchronisation with a GPU.
    """
    if not len(offsets):
        return positions
    rank = rowed.cumsum(0) - 1
    found = offsets.to(positions)[rank.clamp(0, len(offsets) - 1)].T
    open_marks = rowed & (rank < len(offsets)) & (positions < 0) & (found >= 0)
    return torch.where(open_marks, found - 1 - positions, positions)


def delta(positions: Tensor) -> int:
    """What to add to the place of a token behind the prompt to get its position."""
    return int(positions[:, -1].max()) + 1 - positions.shape[1]
