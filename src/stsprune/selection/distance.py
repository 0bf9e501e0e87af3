"""The distance between visual tokens that repulsion works with, and the potential it makes."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

#: Most rows of a block on the CPU, where only the blocks on and above the diagonal are computed.
BLOCK = 192
#: Fewer tokens than this are not worth splitting up.
SPLIT = 256
#: A matrix product of at least as many rows and columns rounds every entry alike on a CPU.
ALIKE = 16

Elementwise = Callable[[Tensor], Tensor]


def squared_distances(
    features: Tensor,
    positions: Tensor,
    space: float,
    offset: float = 0.0,
    then: Elementwise | None = None,
) -> Tensor:
    """d^2 = (1 - space) * d_f^2 + space * d_p^2 for every pair of tokens.

    d_f = |x_i - x_j| / 2 for unit features x, d_p = |p_i - p_j| / sqrt(2); both lie in [0, 1].
    A zero feature stays zero: half way to every other one, no NaN. A copy is at 0 up to 1e-7.

    features: [B, N, Dim]; positions: [N, 2] or [B, N, 2]; offset: added to every d^2; then: an
    elementwise function that works in place, applied while a block is still in the cache.
    Returns [B, N, N], float32 (float64 for float64 features), whatever autocast says.
    """
    with torch.autocast(features.device.type, enabled=False):
        dtype = torch.promote_types(features.dtype, torch.float32)
        where = positions.to(device=features.device, dtype=dtype, non_blocking=True)
        batch, tokens, _ = features.shape
        if features.device.type != "cpu" or tokens < SPLIT:
            return _finish(_gram(scaled(features)), space, place(where, where, space, offset), then)
        out = torch.empty(batch, tokens, tokens, dtype=dtype)
        shared = None if where.ndim == 3 else place(where, where, space, offset)
        for i in range(batch):
            here = place(where[i], where[i], space, offset) if shared is None else shared
            _fill_by_blocks(out[i], features[i].to(dtype), space, here, then)
        return out


def potentials(
    features: Tensor, positions: Tensor, space: float, exponent: float, eps: float
) -> tuple[Tensor, bool]:
    """phi(d_ij) = (d_ij^2 + eps^2)^(-exponent / 2) of every pair -> ([B, N, N], logarithm).

    Where sums of N potentials could leave the number format, their logarithm is returned instead
    and `logarithm` is True; that depends on N, exponent and eps only. The diagonal is a token's
    potential on itself, phi(0).
    """
    phi, logarithm = kernel(features, exponent, eps)
    return squared_distances(features, positions, space, eps * eps, phi), logarithm


def kernel(features: Tensor, exponent: float, eps: float) -> tuple[Elementwise, bool]:
    """phi of d^2 + eps^2, in place, and whether it is its logarithm; see `potentials`.

    features: [..., N, Dim].
    """
    dtype = torch.promote_types(features.dtype, torch.float32)
    largest = -exponent * math.log(eps) + math.log(features.shape[-2])
    logarithm = largest > math.log(torch.finfo(dtype).max) - 1
    half = -exponent / 2

    def phi(squared: Tensor) -> Tensor:
        return squared.log_().mul_(half) if logarithm else squared.pow_(half)

    return phi, logarithm


def scaled(features: Tensor) -> Tensor:
    """Rows times a power of two, so that no square leaves the number format.

    float32 or wider; float16 and bfloat16 stay what they are on a GPU, whose matrix product takes
    them exactly and sums in float32.
    """
    dtype = torch.promote_types(features.dtype, torch.float32)
    narrow = features.device.type == "cuda" and features.dtype != dtype and _has_wide_product()
    wide = features if narrow else features.to(dtype)
    if features.dtype == torch.float16:
        return wide
    peak = torch.maximum(wide.amax(-1), -wide.amin(-1)).to(dtype)
    most = 126 if dtype == torch.float32 else 1000
    power = torch.frexp(peak).exponent.clamp(-most, most)
    factor = torch.ldexp(torch.ones_like(peak), -power)
    return wide * factor[..., None].to(wide.dtype)


def _has_wide_product() -> bool:
    """Whether torch multiplies half-precision matrices into float32 (since 2.8)."""
    return hasattr(torch.ops.aten.bmm, "dtype")


def _gram(points: Tensor) -> Tensor:
    other = points.transpose(-1, -2)
    if points.dtype in (torch.float16, torch.bfloat16):
        return torch.bmm(points, other, out_dtype=torch.float32)
    return torch.bmm(points, other)


def place(
    where: Tensor, other: Tensor, space: float, offset: float, scratch: Tensor | None = None
) -> Tensor:
    """space * d_p^2 + offset: [..., R, C] from positions [..., R, 2 or 3] and [..., C, 2 or 3].

    scratch: [2, ..., R, C] to work in; the result is its first half.
    """
    axes = list(zip(where.unbind(-1), other.unbind(-1), strict=True))
    total, spare = (None, None) if scratch is None else scratch

    def square(axis: int, out: Tensor | None) -> Tensor:
        # Differences, not a product: equal spacings must tie to the last bit.
        own, theirs = axes[axis]
        return torch.sub(own[..., :, None], theirs[..., None, :], out=out).square_()

    apart = square(0, total)
    for axis in range(1, len(axes)):
        apart.add_(square(axis, spare))
    return apart.mul_(space / len(axes)).add_(offset)


def weights(own: Tensor, space: float) -> tuple[Tensor, Tensor, Tensor]:
    """(left, right, self) so that gram * left_i * right_j + self_i + self_j = (1-space) d_f^2.

    own: the Gram product's diagonal [..., N]. Each token is measured against it with the same
    operations, so that a copy's distance cancels also under TF32.
    """
    left = own.clamp_min(torch.finfo(own.dtype).tiny).rsqrt()
    right = left * (-(1 - space) / 2)
    return left, right, own * left * right * -0.5


def mix(
    gram: Tensor,
    rows: tuple[Tensor, Tensor],
    columns: tuple[Tensor, Tensor],
    apart: Tensor,
    then: Elementwise | None = None,
) -> Tensor:
    """A block of the Gram product becomes squared distances, in place."""
    left, own = rows
    right, other = columns
    gram.mul_(left[..., None]).mul_(right[..., None, :])
    gram.add_(own[..., None]).add_(other[..., None, :]).clamp_min_(0).add_(apart)
    return gram if then is None else then(gram)


def _finish(gram: Tensor, space: float, apart: Tensor, then: Elementwise | None) -> Tensor:
    left, right, own = weights(gram.diagonal(dim1=-2, dim2=-1), space)
    return mix(gram, (left, own), (right, own), apart, then)


def cuts(tokens: int) -> list[tuple[int, int]]:
    """Where the rows of a table of `tokens` are split: (start, end) pairs."""
    rows = -(-tokens // -(-tokens // BLOCK) // 16) * 16  # even blocks, whole vectors
    starts = list(range(0, tokens, rows))
    if len(starts) > 1 and tokens - starts[-1] < ALIKE:
        starts.pop()
    return list(zip(starts, [*starts[1:], tokens], strict=True))


def leave_format(squares: Tensor) -> bool:
    """Whether a row is zero, tiny or huge, so that products could leave the number format."""
    low, high = squares.aminmax()
    return not 1e-24 < float(low) <= float(high) < 1e28


def _fill_by_blocks(
    out: Tensor,
    features: Tensor,
    space: float,
    apart: Tensor,
    then: Elementwise | None,
) -> None:
    """One image [N, N]: the product is symmetric, so what lies below the diagonal is mirrored."""
    blocks = cuts(len(out))

    def multiply(own: Tensor) -> Tensor:
        for start, end in blocks:
            torch.mm(own[start:end], own[start:].T, out=out[start:end, start:])
        return out.diagonal().clone()

    squares = multiply(features)
    if leave_format(squares):  # rare enough to find out afterwards
        squares = multiply(scaled(features))
    left, right, own = weights(squares, space)
    for start, end in blocks:
        block = out[start:end, start:]
        ours, theirs = (left[start:end], own[start:end]), (right[start:], own[start:])
        mix(block, ours, theirs, apart[start:end, start:], then)
        out[end:, start:end] = block[:, end - start :].T
