"""Farthest-point selection: each next token is the one least similar to all kept ones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cosines(features: Tensor) -> Tensor:
    """Cosine similarity of every pair: [I, N, Dim] -> float32 [I, N, N]."""
    unit = F.normalize(features.float(), dim=-1)
    return unit @ unit.transpose(-1, -2)


def max_min(distances: Tensor, keep: int) -> Tensor:
    """Greedy max-min selection: int64 [I, keep], in order of selection.

    distances [I, N, N]. The first token has the largest distance to its nearest neighbour; each
    next one maximises min_{i in S} D_ij (Alvar et al., DivPrune, 2503.02175, algorithm 1).
    """
    diagonal = torch.eye(distances.shape[-1], dtype=torch.bool, device=distances.device)
    chosen = distances.masked_fill(diagonal, torch.inf).amin(-1).argmax(-1, keepdim=True)
    kept = [chosen]
    nearest = torch.full_like(distances[:, 0], torch.inf)
    for _ in range(keep - 1):
        row = distances.gather(1, chosen[..., None].expand(-1, -1, distances.shape[-1]))[:, 0]
        nearest = nearest.minimum(row).scatter(1, chosen, -torch.inf)
        chosen = nearest.argmax(-1, keepdim=True)
        kept.append(chosen)
    return torch.cat(kept, 1)
