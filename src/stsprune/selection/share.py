"""One budget for several images: more tokens for those that hold more."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stsprune.errors import InvalidArgumentError

from .repulsion import repulsion


def share_budget(features: Sequence[Tensor], total: int) -> list[int]:
    """Split `total` kept tokens over images, by where repulsion would place them.

    features: per image [N_i, Dim]. All tokens repel each other in one energy on features alone, so
    that a plain or repeated image gets few. Every image gets at least one. The counts go to the
    host: one synchronisation. Raises InvalidArgumentError.
    """
    sizes = [len(rows) for rows in features]
    if total < len(sizes):
        raise InvalidArgumentError(
            f"budget_total must be at least {len(sizes)}, one token per image of the prompt, "
            f"got {total}"
        )
    if total >= sum(sizes):
        return sizes
    together = torch.cat(list(features))[None]
    nowhere = together.new_zeros(together.shape[1], 2, dtype=torch.float32)
    kept = repulsion(together, nowhere, total, space=0.0)[0]
    image = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    counts = torch.bincount(image[kept.cpu()], minlength=len(sizes)).tolist()
    for poor in [i for i, count in enumerate(counts) if count == 0]:
        counts[counts.index(max(counts))] -= 1
        counts[poor] = 1
    return counts
