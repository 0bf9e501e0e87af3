"""Counts that follow the picture: repulsion goes on while the next token's potential is below mu.

Keeping the set that minimises E(S) - mu |S| instead of a set of fixed size is the step from the
canonical to the grand canonical ensemble, at zero temperature: mu is the chemical potential, the
energy that a further token may cost. The derivation is in docs/method.md.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import check_keep, check_kept, check_potential, check_settings, check_tokens
from .repulsion import EPS, EXPONENT, SPACE, sample
from .rows import Rows


@torch.no_grad()
def added_potentials(
    features: Tensor,
    positions: Tensor,
    order: Tensor,
    *,
    space: float = SPACE,
    exponent: float = EXPONENT,
    eps: float = EPS,
) -> Tensor:
    """log U_k of each token when it is added: its potential by those before it in `order`.

    U_k = sum_{j < k} phi(d_jk), so that sum_k U_k = E. Along `repulsion`'s order it never falls,
    but for rounding. Distances lie in [0, 1] and no term depends on N: neither does the scale.

    order: integer [B, K] or [K], indices into the N tokens; the rest as in `repulsion`.

    Returns [B, K], float32 or wider; -inf for the first token. O(K^2) time, no K x K table.
    Raises InvalidArgumentError or InvalidTypeError.
    """
    check_tokens(features, positions)
    check_settings(space, exponent, eps)
    return along(features, positions, check_kept(order, features), space, exponent, eps)


@torch.no_grad()
def counts_below(
    features: Tensor,
    positions: Tensor,
    potential: float,
    most: int,
    *,
    space: float = SPACE,
    exponent: float = EXPONENT,
    eps: float = EPS,
) -> Tensor:
    """How many tokens of each image minimise E(S) - mu |S| along `repulsion`'s order.

    potential: log mu, > 0 (two tokens never repel each other less); most: the largest count, in
    1..N; the rest as in `repulsion`.

    Returns int64 [B] in 1..most, on the features' device. It rises with `potential`. Raises
    InvalidArgumentError or InvalidTypeError.
    """
    check_tokens(features, positions)
    check_settings(space, exponent, eps)
    most = check_keep(most, features.shape[1])
    return counts(features, positions, check_potential(potential), most, space, exponent, eps)


def counts(
    features: Tensor,
    positions: Tensor,
    potential: float,
    most: int,
    space: float,
    exponent: float,
    eps: float,
) -> Tensor:
    """`counts_below` of arguments that are known to be right: no synchronisation with a GPU."""
    order = sample(features, positions, most, space, exponent, eps)
    return count(along(features, positions, order, space, exponent, eps), potential)


def count(added: Tensor, potential: float) -> Tensor:
    """int64 [B]: the tokens before the first whose log U_k [B, K] is not below `potential`.

    The first token is always counted: its -inf is below everything.
    """
    return (added < potential).long().cumprod(1).sum(1)


def along(
    features: Tensor, positions: Tensor, order: Tensor, space: float, exponent: float, eps: float
) -> Tensor:
    """`added_potentials` of arguments that are known to be right; order: int64 [B, K]."""
    where = positions.to(features.device).expand(len(features), *positions.shape[-2:])
    added = []
    with torch.autocast(features.device.type, enabled=False):
        for image, kept in enumerate(order):
            rows = Rows(features[image][kept], where[image][kept], space, exponent, eps)
            added.append(torch.cat([_before(rows, *block) for block in rows.blocks()]))
    return torch.stack(added)


def _before(rows: Rows, begin: int, block: Tensor) -> Tensor:
    """log of each row's sum left of the diagonal: [R] of rows [R, K], first number `begin`."""
    before = torch.ones_like(block, dtype=torch.bool).tril(begin - 1)
    if rows.logarithm:
        return block.masked_fill(~before, -torch.inf).logsumexp(1)
    return block.masked_fill(~before, 0.0).sum(1).log()
