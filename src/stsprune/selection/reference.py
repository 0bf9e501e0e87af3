"""Repulsion as it is meant: a few lines that every faster path must equal, index by index.

All paths read one table of potentials and add its rows in the order of selection, so that they
round alike and ties fall alike.
"""

from __future__ import annotations

import torch
from torch import Tensor


def most_isolated(table: Tensor, logarithm: bool) -> Tensor:
    """int64 [B]: the token of lowest mean potential against all tokens of its image.

    table: potentials [B, N, N] or their logarithms.
    """
    return lowest_total(table.logsumexp(-1) if logarithm else table.sum(-1), logarithm)


def lowest_total(total: Tensor, logarithm: bool) -> Tensor:
    """int64 [B]: the token of lowest total potential; total: [B, N].

    Sums that differ by their own rounding tie, so that symmetric tokens do; ties go to the lowest
    index.
    """
    unit = torch.finfo(total.dtype).eps
    if logarithm:
        limit = total.amin(1, keepdim=True) + 8 * unit * total.abs().amax(1, keepdim=True)
    else:
        limit = total.amin(1, keepdim=True) * (1 + 8 * unit)
    return lowest((total > limit).to(total.dtype))


def greedy_reference(table: Tensor, first: Tensor, keep: int, logarithm: bool) -> Tensor:
    """Greedy minimisation of the energy: int64 [B, keep], in order of selection.

    table: potentials [B, N, N] or their logarithms, inf on the diagonal, so that nothing is chosen
    twice; first: int64 [B].
    """
    add = torch.logaddexp if logarithm else torch.add
    image = torch.arange(len(table), device=table.device)
    kept = [first]
    potential = table[image, first]
    while len(kept) < keep:
        kept.append(lowest(potential))
        potential = add(potential, table[image, kept[-1]])
    return torch.stack(kept, dim=1)


def added_reference(table: Tensor, order: Tensor, logarithm: bool) -> Tensor:
    """log U_k [B, K]: each token's potential by those before it in `order` [B, K]; first -inf.

    table: as in `greedy_reference`.
    """
    add = torch.logaddexp if logarithm else torch.add
    image = torch.arange(len(table), device=table.device)
    total = torch.full_like(table[:, 0], -torch.inf if logarithm else 0.0)
    added = []
    for token in order.unbind(1):
        added.append(total[image, token])
        total = add(total, table[image, token])
    together = torch.stack(added, dim=1)
    return together if logarithm else together.log()


def lowest(values: Tensor) -> Tensor:
    """[B, N] -> [B]: the lowest index of the smallest value."""
    number = torch.arange(values.shape[1], device=values.device)
    smallest = values == values.amin(1, keepdim=True)
    return number.where(smallest, values.shape[1]).amin(1)
