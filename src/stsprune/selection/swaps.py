"""Refinement of a kept set by best single swaps."""

from __future__ import annotations

import torch
from torch import Tensor

from .distance import ALIKE
from .reference import lowest
from .rows import Rows

#: A swap must lower its token's potential by this share: rounding must not make it cycle.
MARGIN = 1e-5


def best_swaps(table: Tensor, kept: Tensor, rounds: int, logarithm: bool) -> Tensor:
    """Swap one kept token for one that is not, `rounds` times, while that lowers the energy.

    Each round takes the swap that lowers E most (ties: the earliest kept token, then the lowest
    index) and puts the new token in the old one's place. An image with no such swap stays.

    table: potentials [B, N, N] or their logarithms, inf on the diagonal; kept: int64 [B, K] ->
    int64 [B, K].
    """
    tokens = table.shape[-1]
    for _ in range(rounds):
        rows = table.gather(1, kept[..., None].expand(-1, -1, tokens))
        others = _sum_without_each(rows, logarithm)
        now = others.gather(2, kept[..., None])[..., 0]
        offers = others.scatter_(2, kept[:, None].expand(-1, kept.shape[1], -1), torch.inf)
        other = lowest(offers.flatten(0, 1)).view_as(kept)
        offer = offers.gather(2, other[..., None])[..., 0]
        kept = _swap(kept, now, offer, other, logarithm)
    return kept


def best_swaps_of(rows: Rows, kept: Tensor, rounds: int) -> Tensor:
    """`best_swaps` of one image without a table: int64 [K] -> int64 [K].

    The sums of a round are made a few columns at a time.
    """
    tokens, count = rows.tokens, len(kept)
    width = min(tokens, max(ALIKE, rows.entries // count))
    for _ in range(rounds):
        now = rows.own.new_empty(count)
        offer = torch.full_like(now, torch.inf)
        other = torch.zeros_like(kept)
        for column in range(0, tokens, width):
            begin = min(column, tokens - width)  # the last columns twice rather than too few
            number = torch.arange(begin, begin + width, device=kept.device)
            own = kept[:, None] == number
            piece = rows.piece(kept, begin, begin + width).masked_fill_(own, torch.inf)
            others = _sum_without_each(piece[None], rows.logarithm)[0]
            now = torch.where(own, others, -torch.inf).amax(1).where(own.any(1), now)
            others.masked_fill_(own.any(0), torch.inf)
            least = others.amin(1)
            place = lowest(others) + begin
            other = torch.where(least < offer, place, other)
            offer = torch.minimum(least, offer)
        kept = _swap(kept[None], now[None], offer[None], other[None], rows.logarithm)[0]
    return kept


def _swap(kept: Tensor, now: Tensor, offer: Tensor, other: Tensor, logarithm: bool) -> Tensor:
    """The best swap of each image, made where it helps: [B, K].

    now: potential of each kept token by the others; offer: the lowest that another token would
    have in its place, `other` that token; all [B, K].
    """
    if logarithm:
        scale = now.amax(1, keepdim=True)
        gain = (now - scale).exp() - (offer - scale).exp()
        helps = offer < now - MARGIN
    else:
        gain, helps = now - offer, offer < now * (1 - MARGIN)
    gain = torch.where(helps, gain, 0.0)
    number = torch.arange(len(kept), device=kept.device)
    place = lowest(-gain)
    fresh = torch.where(gain[number, place] > 0, other[number, place], kept[number, place])
    return kept.scatter(1, place[:, None], fresh[:, None])


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
