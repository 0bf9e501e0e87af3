"""Which rows of the encoder's output stay. In the worker's path: nothing here raises or waits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stsprune.engine.visual import Visual
from stsprune.selection.budget import kept_tokens
from stsprune.selection.repulsion import EPS, EXPONENT, SPACE, sample

#: Bytes of the tables [B, N, N] of the images that are chosen from together.
TABLES = 256 * 2**20


def kept_length(visual: Visual, budget: int | float) -> int:
    """Placeholders that stay: the kept tokens, and newlines and tails, which are never pruned."""
    return visual.length - visual.tokens + kept_tokens(budget, visual.tokens)


def choose(
    features: Sequence[Tensor],
    visuals: Sequence[Visual],
    budgets: Sequence[int | float],
    *,
    space: float = SPACE,
    exponent: float = EXPONENT,
    eps: float = EPS,
) -> list[Tensor]:
    """The placeholders of every image that stay, ascending, int64 [K] each.

    features: per image [length, Dim], as they enter the language model; budgets: per image;
    space, exponent, eps: see `stsprune.repulsion`, and are known to be right.

    Always K = `kept_length` distinct places, also of an image whose features are not finite: it
    spoils its own answer only. No synchronisation with a GPU.
    """
    out: list[Tensor] = [torch.empty(0)] * len(features)
    kinds = list(zip(visuals, budgets, strict=True))
    for visual, budget in dict.fromkeys(kinds):
        group = [i for i, other in enumerate(kinds) if other == (visual, budget)]
        keep = kept_tokens(budget, visual.tokens)
        together = max(1, TABLES // (4 * visual.tokens**2))
        for start in range(0, len(group), together):
            part = group[start : start + together]
            places = _choose([features[i] for i in part], visual, keep, space, exponent, eps)
            for i, kept in zip(part, places, strict=True):
                out[i] = kept
    return out


def _choose(
    features: list[Tensor], visual: Visual, keep: int, space: float, exponent: float, eps: float
) -> Tensor:
    """Of images of one shape: int64 [B, K], ascending."""
    device = features[0].device
    everything = torch.arange(visual.length, device=device)
    if keep == visual.tokens:
        return everything.expand(len(features), -1)
    offsets = visual.offsets().to(device, non_blocking=True)
    tokens = torch.stack([one[: visual.length].index_select(0, offsets) for one in features])
    tokens = tokens.float().nan_to_num_(0.0, 0.0, 0.0)
    places = visual.positions().to(device, non_blocking=True)
    chosen = sample(tokens, places, keep, space, exponent, eps)
    stays = torch.ones(len(features), visual.length, dtype=torch.uint8, device=device)
    stays.index_fill_(1, offsets, 0)
    stays.scatter_(1, offsets.expand(len(features), -1).gather(1, chosen), 1)
    # As `nonzero`, which would wait for the device: a stable sort puts what stays first, in order.
    order = stays.sort(stable=True, dim=1, descending=True).indices
    return order[:, : visual.length - visual.tokens + keep].contiguous()
