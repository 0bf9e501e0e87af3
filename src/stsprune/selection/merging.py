"""Merging instead of dropping: groups of tokens and their means."""

from __future__ import annotations

import torch
from torch import Tensor

from .maxmin import cosines


def group_means(states: Tensor, group: Tensor, count: int) -> Tensor:
    """Mean of every group: states [I, N, Dim], group [I, N] in 0..count -> [I, count, Dim].

    Group `count` is thrown away.
    """
    images, _, width = states.shape
    wide = states.float()
    total = wide.new_zeros(images, count + 1, width)
    total.scatter_add_(1, group[..., None].expand(-1, -1, width), wide)
    size = wide.new_zeros(images, count + 1)
    size.scatter_add_(1, group, torch.ones_like(group, dtype=wide.dtype))
    return (total / size.clamp_min(1)[..., None])[:, :count]


def nearest_target(similarity: Tensor, targets: Tensor) -> Tensor:
    """The rank in `targets` [I, C] of the most similar one, for every token: [I, N].

    similarity [I, N, N]; a target is its own.
    """
    tokens = similarity.shape[-1]
    among = similarity.gather(2, targets[:, None].expand(-1, tokens, -1))
    best = among.argmax(-1)
    rank = torch.arange(targets.shape[1], device=targets.device).expand_as(targets)
    return best.scatter(1, targets, rank)


def bipartite(features: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """Bipartite soft matching until `keep` groups are left (Bolya et al., ToMe, 2210.09461).

    Each round splits the tokens alternately in two, links every even one to its most similar odd
    one, and merges the most similar pairs into size-weighted means: at most half per round.
    features [I, N, Dim]. Returns (kept [I, keep] ascending: the token that stands for each group,
    group [I, N]: the rank in `kept` that every token belongs to).
    """
    images, tokens, width = features.shape
    device = features.device
    means = features.float()
    size = torch.ones(images, tokens, device=device)
    alive = torch.arange(tokens, device=device).expand(images, -1)  # original index of each
    owner = alive.clone()  # original token -> original index of its representative
    while alive.shape[1] > keep:
        left = alive.shape[1]
        merged = min(left - keep, left // 2)
        even = torch.arange(0, left, 2, device=device)
        odd = torch.arange(1, left, 2, device=device)
        similarity = cosines(means)[:, even][:, :, odd]
        best, target = similarity.max(-1)
        going = best.sort(dim=-1, descending=True, stable=True).indices[:, :merged]
        source, sink = even[going], odd[target.gather(1, going)]
        old, new = alive.gather(1, source), alive.gather(1, sink)
        moved = torch.arange(tokens, device=device).expand(images, -1).scatter(1, old, new)
        owner = moved.gather(1, owner)
        weighted = means * size[..., None]
        index = sink[..., None].expand(-1, -1, width)
        weighted = weighted.scatter_add(
            1, index, weighted.gather(1, source[..., None].expand_as(index))
        )
        size = size.scatter_add(1, sink, size.gather(1, source))
        means = weighted / size[..., None]
        stays = torch.ones(images, left, dtype=torch.bool, device=device).scatter(1, source, False)
        order = stays.long().sort(dim=1, descending=True, stable=True).indices[:, : left - merged]
        alive, size = alive.gather(1, order), size.gather(1, order)
        means = means.gather(1, order[..., None].expand(-1, -1, width))
    rank = torch.zeros(images, tokens, dtype=torch.long, device=device)
    rank = rank.scatter(1, alive, torch.arange(keep, device=device).expand(images, -1))
    return alive, rank.gather(1, owner)
