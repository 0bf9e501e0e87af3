"""Greedy MAP inference of a determinantal point process."""

from __future__ import annotations

import torch
from torch import Tensor


def greedy_dpp(kernel: Tensor, keep: int) -> Tensor:
    """The `keep` tokens that greedily maximise log det of the kernel: int64 [I, keep].

    kernel: positive semi-definite [I, N, N]. The incremental Cholesky form of Chen et al., "Fast
    greedy MAP inference for determinantal point process" (2018): with d2_j the gain of j,
    j* = argmax d2, e = (L_j* - sum_t c[t, j*] c[t]) / sqrt(d2_j*), d2 -= e^2.
    """
    kernel = kernel.float()
    images, tokens, _ = kernel.shape
    gain = kernel.diagonal(dim1=1, dim2=2).clone()
    taken = torch.zeros_like(gain, dtype=torch.bool)
    rows = kernel.new_zeros(images, keep, tokens)
    kept = []
    for step in range(keep):
        chosen = gain.masked_fill(taken, -torch.inf).argmax(1, keepdim=True)
        kept.append(chosen)
        taken = taken.scatter(1, chosen, True)
        line = kernel.gather(1, chosen[..., None].expand(-1, -1, tokens))[:, 0]
        before = rows[:, :step]
        weights = before.gather(2, chosen[:, None].expand(-1, step, -1))
        line = line - (weights * before).sum(1)
        # The rank may run out before `keep`: gains are then rounding errors around 0.
        rows[:, step] = line / gain.gather(1, chosen).clamp_min(1e-6).sqrt()
        gain = (gain - rows[:, step].square()).clamp_min(0)
    return torch.cat(kept, 1)
