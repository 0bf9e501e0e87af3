"""How far logits may differ that ought to be equal."""

from __future__ import annotations

import torch
from torch import Tensor

#: The most that float32 may differ by, as in the tests of every family.
BAR = 1e-4
#: How often the unpruned model's own noise a half-precision run may differ by: two runs that round
#: in other places differ by about the noise, and the largest of many logits varies. Over 125 random
#: models in bfloat16 right pruning differed by up to 6.3, dropping itself changed 80 and more.
NOISES = 8.0


def allowed(logits: Tensor, noise: float) -> float:
    """The bar for logits of a dtype; one rounding step of the largest where there is no noise."""
    if logits.dtype in (torch.float32, torch.float64):
        return BAR
    step = float(logits[logits.isfinite()].abs().max()) * torch.finfo(logits.dtype).eps
    return max(BAR, NOISES * max(noise, step))


def largest(tensor: Tensor, other: Tensor) -> float:
    """The largest difference; equal infinities (words that a model never says) are none."""
    tensor, other = tensor.float(), other.float().to(tensor.device)
    return float((tensor - other).abs().masked_fill(tensor == other, 0).max())
