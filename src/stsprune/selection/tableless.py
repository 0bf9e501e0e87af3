"""Repulsion without the table of potentials: O(N K) time behind the start, O(N + K) memory."""

from __future__ import annotations

import torch
from torch import Tensor

from .distance import ALIKE
from .kernels import usable
from .reference import lowest_total
from .rows import Rows
from .swaps import best_swaps_of

#: Largest table of one image, in bytes: 8,192 tokens in float32.
TABLE = 256 * 2**20
#: On a CPU, from which size on rows of narrow features are made faster than the table is written.
FASTER, NARROW = 64 * 2**20, 128


def needs_no_table(features: Tensor) -> bool:
    """Whether `sample` works without a table for an image of these features [..., N, Dim].

    Always where the table would exceed `TABLE`; on a CPU also where that is faster.
    """
    *_, tokens, width = features.shape
    size = tokens**2 * torch.promote_types(features.dtype, torch.float32).itemsize
    narrow = features.device.type == "cpu" and width <= NARROW
    return size > (FASTER if narrow else TABLE)


def sample_rows(
    features: Tensor,
    positions: Tensor,
    keep: int,
    space: float,
    exponent: float,
    eps: float,
    first: Tensor | None = None,
    refine: int = 0,
) -> Tensor:
    """`sample`, image by image, with no N x N table. Arguments as there."""
    where = positions.expand(len(features), *positions.shape[-2:])
    kept = []
    with torch.autocast(features.device.type, enabled=False):
        for i in range(len(features)):
            rows = Rows(features[i], where[i], space, exponent, eps)
            start = most_isolated_of(rows) if first is None else first[i : i + 1]
            picked = greedy_of(rows, start, keep)
            kept.append(best_swaps_of(rows, picked, refine) if refine else picked)
    return torch.stack(kept)


def most_isolated_of(rows: Rows) -> Tensor:
    """`most_isolated` of one image: int64 [1]. The whole table passes by, in O(N) memory."""
    total = torch.empty_like(rows.own)
    for begin, block in rows.blocks():
        end = begin + len(block)
        own = block[:, begin:end].diagonal()
        own.fill_(-torch.inf if rows.logarithm else 0.0)
        total[begin:end] = block.logsumexp(-1) if rows.logarithm else block.sum(-1)
    return lowest_total(total[None], rows.logarithm)


def greedy_of(rows: Rows, first: Tensor, keep: int) -> Tensor:
    """`greedy_reference` of one image: int64 [keep]; first: int64 [1]."""
    if not rows.logarithm and usable(rows.points):
        from .kernels.rows import fused_rows

        return fused_rows(rows, first, keep)
    ahead = Ahead(rows) if rows.points.device.type == "cpu" else None
    add = torch.logaddexp if rows.logarithm else torch.add
    order = torch.empty(keep, dtype=torch.int64, device=first.device)
    order[:1] = first
    potential = torch.zeros_like(rows.own)[None]
    for step in range(1, keep):
        token = order[step - 1 : step]
        if ahead is None:
            row = rows.finish(rows.product(token), token, 0)
        else:
            row = ahead.row(int(token), potential)
        row.index_fill_(1, token, torch.inf)  # nothing is chosen twice
        if step == 1:
            potential.copy_(row)
        else:
            add(potential, row, out=potential)
        # The lowest index on ties: torch does not promise it, tests hold it.
        torch.argmin(potential, 1, out=order[step : step + 1])
    return order


class Ahead:
    """Rows of the Gram product made `ALIKE` at a time on a CPU: the others are likely the next.

    A product of fewer rows would round differently and reads the features as often.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.gram: dict[int, Tensor] = {}
        self.starts = [start for start, end in rows.cuts for _ in range(start, end)]

    def row(self, token: int, potential: Tensor) -> Tensor:
        """Potentials [1, N] that `token` makes; it has the lowest of potential [1, N]."""
        if token not in self.gram:
            count = min(ALIKE, self.rows.tokens)
            likely = potential.topk(count, largest=False).indices[0].tolist()
            chosen = [token, *(one for one in likely if one != token)][:count]
            product = self.rows.product(torch.tensor(chosen))
            self.gram = {one: product[i : i + 1] for i, one in enumerate(chosen)}
        index = slice(token, token + 1)
        return self.rows.finish(self.gram.pop(token), index, self.starts[token])
