"""The distance between visual tokens that repulsion works with."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def squared_distances(
    features: torch.Tensor, positions: torch.Tensor, space: float
) -> torch.Tensor:
    """d^2 = (1 - space) * d_f^2 + space * d_p^2 for every pair of tokens.

    d_f = |x_i - x_j| / 2 for unit features x, d_p = |p_i - p_j| / sqrt(2); both lie in [0, 1].
    A zero feature stays zero: half way to every other one, no NaN.

    features: [B, N, Dim]; positions: [N, 2] or [B, N, 2] -> [B, N, N], float32 (float64 for
    float64 features), whatever autocast says.
    """
    dtype = torch.promote_types(features.dtype, torch.float32)
    with torch.autocast(features.device.type, enabled=False):
        wide = features.to(dtype)
        # Largest entry to 1 first: squares of very large or small features would leave float32.
        wide = wide / wide.abs().amax(-1, keepdim=True).clamp_min(torch.finfo(dtype).tiny)
        unit = F.normalize(wide, dim=-1)
        gram = unit @ unit.transpose(-1, -2)
        # Against the product's own diagonal, so that copies come out at 0 also under TF32.
        own = gram.diagonal(dim1=-2, dim2=-1)
        feature = (own[..., :, None] + own[..., None, :] - 2 * gram).clamp_min(0) / 4
        where = positions.to(device=features.device, dtype=dtype)
        # Differences, not a product: equal spacings must tie to the last bit.
        gap = where[..., :, None, :] - where[..., None, :, :]
        return torch.lerp(feature, gap.square().sum(-1) / where.shape[-1], space)
