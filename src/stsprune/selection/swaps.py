"""Refinement of a kept set by best single swaps."""

from __future__ import annotations

import torch
from torch import Tensor

from .reference import lowest

#: A swap must lower its token's potential by this share: rounding must not make it cycle.
MARGIN = 1e-5


def best_swaps(table: Tensor, kept: Tensor, rounds: int, logarithm: bool) -> Tensor:
    """Swap one kept token for one that is not, `rounds` times, while that lowers the energy.

    Each round takes the swap that lowers E most (ties: the earliest kept token, then the lowest
    index) and puts the new token in the old one's place. An image with no such swap stays.

    table: potentials [B, N, N] or their logarithms, inf on the diagonal; kept: int64 [B, K] ->
    int64 [B, K].
    """
    batch, tokens, _ = table.shape
    number = torch.arange(batch, device=table.device)
    for _ in range(rounds):
        rows = table.gather(1, kept[..., None].expand(-1, -1, tokens))
        others = _sum_without_each(rows, logarithm)
        now = others.gather(2, kept[..., None])[..., 0]
        offers = others.scatter_(2, kept[:, None].expand(-1, kept.shape[1], -1), torch.inf)
        other = lowest(offers.flatten(0, 1)).view_as(kept)
        offer = offers.gather(2, other[..., None])[..., 0]
        if logarithm:
            scale = now.amax(1, keepdim=True)
            gain = (now - scale).exp() - (offer - scale).exp()
            helps = offer < now - MARGIN
        else:
            gain, helps = now - offer, offer < now * (1 - MARGIN)
        gain = torch.where(helps, gain, 0.0)
        place = lowest(-gain)
        fresh = torch.where(gain[number, place] > 0, other[number, place], kept[number, place])
        kept = kept.scatter(1, place[:, None], fresh[:, None])
    return kept


def _sum_without_each(rows: Tensor, logarithm: bool) -> Tensor:
    """[B, K, N] -> [B, K, N]: [b, j, i] is the potential at i of the kept ones but j.

    Summed from both ends, because subtracting would lose the small terms.
    """
    add = torch.logaddexp if logarithm else torch.add
    nothing = rows.new_full(rows[:, 0].shape, -torch.inf if logarithm else 0.0)
    behind = torch.empty_like(rows)
    total = nothing
    for j in reversed(range(rows.shape[1])):
        behind[:, j] = total
        total = add(total, rows[:, j])
    total = nothing
    for j in range(rows.shape[1]):
        behind[:, j] = add(total, behind[:, j])
        total = add(total, rows[:, j])
    return behind
