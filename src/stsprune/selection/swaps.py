"""Refinement of a kept set by best single swaps."""

from __future__ import annotations

import torch

#: A swap must lower its token's potential by this share: rounding must not make it cycle.
MARGIN = 1e-5


def best_swaps(log_phi: torch.Tensor, kept: torch.Tensor, rounds: int) -> torch.Tensor:
    """Swap one kept token for one that is not, `rounds` times, while that lowers the energy.

    Each round takes the swap that lowers E most (ties: the earliest kept token, then the lowest
    index) and puts the new token in the old one's place. An image with no such swap stays.

    log_phi: [B, N, N] with -inf on the diagonal; kept: int64 [B, K] -> int64 [B, K].
    """
    tokens = log_phi.shape[-1]
    for _ in range(rounds):
        rows = log_phi.gather(1, kept[..., None].expand(-1, -1, tokens))
        others = _sum_without_each(rows)  # [b, j, i]: potential at i of the kept ones but j
        now = others.gather(2, kept[..., None])
        offer = others.scatter(2, kept[:, None].expand(-1, kept.shape[1], -1), torch.inf)
        scale = now.amax(1, keepdim=True)
        gain = (now - scale).exp() - (offer - scale).exp()
        gain = gain.masked_fill(offer >= now - MARGIN, -torch.inf).flatten(1)
        best = gain.amax(1, keepdim=True)
        number = torch.arange(gain.shape[1], device=gain.device)
        pick = number.where(gain == best, gain.shape[1]).amin(1, keepdim=True)
        place = torch.div(pick, tokens, rounding_mode="floor")
        swapped = kept.scatter(1, place, pick % tokens)
        kept = swapped.where(best > 0, kept)
    return kept


def _sum_without_each(rows: torch.Tensor) -> torch.Tensor:
    """[B, K, N] logs -> [B, K, N]: log of the sum over all K rows but one's own.

    From both ends, because subtracting would lose the small terms.
    """
    empty = torch.full_like(rows[:, :1], -torch.inf)
    before = torch.cat((empty, rows[:, :-1].logcumsumexp(1)), dim=1)
    after = torch.cat((rows[:, 1:].flip(1).logcumsumexp(1).flip(1), empty), dim=1)
    return before.logaddexp(after)
