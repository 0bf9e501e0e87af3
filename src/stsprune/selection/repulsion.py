"""Stage 1, structure: visual tokens as charges that repel, kept where the potential is low.

The energy of a kept set S is E(S) = sum over its pairs of phi(d_ij), with the softened Riesz
kernel phi(d) = (d^2 + eps^2)^(-exponent / 2) and the distance of `squared_distances`. Greedy
minimisation gives greedy energy (Leja) points: Saff and Kuijlaars, "Distributing many points on a
sphere", 1997; Lopez-Garcia and Saff, "Asymptotics of greedy energy points", 2010. As the exponent
grows, greedy energy becomes farthest-point (max-min) sampling.

The idea of repulsion is that of arXiv 2606.03569, of which only the abstract could be read: the
equations are this project's own. Everything is computed on log phi, so that no exponent overflows.
"""

from __future__ import annotations

import torch

from .checks import check_kept, check_settings, check_tokens, first_tokens
from .distance import squared_distances
from .swaps import best_swaps

SPACE = 0.3
EXPONENT = 4.0
#: Below the gap of equal neighbours on a 64 x 64 grid (6e-3 at space=0.3), so that coverage still
#: tells them apart; eps^2 ten times float32's rounding of d^2 (1e-7). A copy costs phi(0) = 1e12.
EPS = 1e-3


@torch.no_grad()
def repulsion(
    features: torch.Tensor,
    positions: torch.Tensor,
    keep: int,
    *,
    space: float = SPACE,
    exponent: float = EXPONENT,
    eps: float = EPS,
    seed: int | torch.Tensor | None = None,
    refine: int = 0,
) -> torch.Tensor:
    """Pick `keep` tokens per image that repel each other least, greedily.

    The first token is the one with the lowest mean potential against all others (the most isolated
    one); each next one has the lowest potential U(i) = sum_{j in S} phi(d_ij). Ties go to the
    lowest index. The result is nested: the first K of a longer run are the run for K. A copy of a
    kept token waits until all distinct ones are kept, if those are not almost copies (d >> eps).

    features: [B, N, Dim], floating point, any scale; positions: [N, 2] or [B, N, 2] in [0, 1].
    space: weight of position against feature distance, in [0, 1].
    exponent: > 0; larger looks at the nearest kept token only.
    eps: softening of the kernel, > 0, in units of distance.
    seed: index of the first token, one for all images or [B]; None for the most isolated.
    refine: try up to this many best single swaps afterwards; E never rises. The result is then no
        longer nested.

    Returns int64 [B, keep], in order of selection. Deterministic; O(N * keep) after one N x N
    product. Raises InvalidArgumentError or InvalidTypeError.
    """
    check_tokens(features, positions, keep)
    check_settings(space, exponent, eps, refine)
    log_phi = _log_kernel(features, positions, space, exponent, eps)
    chosen = first_tokens(seed, features)
    if chosen is None:
        chosen = _lowest(log_phi.logsumexp(-1))
    kept = [chosen]
    potential = _row(log_phi, chosen).scatter(1, chosen, torch.inf)
    for _ in range(keep - 1):
        chosen = _lowest(potential)
        kept.append(chosen)
        potential = potential.logaddexp(_row(log_phi, chosen)).scatter(1, chosen, torch.inf)
    order = torch.cat(kept, dim=1)
    return best_swaps(log_phi, order, refine) if refine else order


@torch.no_grad()
def energy(
    features: torch.Tensor,
    positions: torch.Tensor,
    kept: torch.Tensor,
    *,
    space: float = SPACE,
    exponent: float = EXPONENT,
    eps: float = EPS,
    log: bool = False,
) -> torch.Tensor:
    """E(S) of each image's kept tokens: lower = better spread.

    kept: integer [B, K] or [K], indices into the N tokens; the rest as in `repulsion`.
    log: return log E, which is finite also where E exceeds the number format (large exponents).

    Returns [B], float32 or wider; a single token has E = 0. Raises InvalidArgumentError or
    InvalidTypeError.
    """
    check_tokens(features, positions, keep=None)
    check_settings(space, exponent, eps)
    index = check_kept(kept, features)
    log_phi = _log_kernel(features, positions, space, exponent, eps)
    pairs = log_phi.gather(1, index[..., None].expand(-1, -1, log_phi.shape[-1]))
    pairs = pairs.gather(2, index[:, None].expand(-1, index.shape[1], -1))
    upper = torch.ones_like(pairs, dtype=torch.bool).triu(1)
    total = pairs.masked_fill(~upper, -torch.inf).flatten(1).logsumexp(-1)
    return total if log else total.exp()


def _log_kernel(
    features: torch.Tensor, positions: torch.Tensor, space: float, exponent: float, eps: float
) -> torch.Tensor:
    """log phi of every pair -> [B, N, N]; -inf on the diagonal: nothing repels itself."""
    squared = squared_distances(features, positions, space)
    log_phi = (squared + eps * eps).log() * (-exponent / 2)
    log_phi.diagonal(dim1=-2, dim2=-1).fill_(-torch.inf)
    return log_phi


def _row(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """table [B, N, N], index [B, 1] -> the row of each image [B, N]."""
    return table.gather(1, index[..., None].expand(-1, -1, table.shape[-1]))[:, 0]


def _lowest(values: torch.Tensor) -> torch.Tensor:
    """[B, N] -> [B, 1], the lowest index of the smallest value (argmin promises no order)."""
    number = torch.arange(values.shape[1], device=values.device)
    smallest = values == values.amin(1, keepdim=True)
    return number.where(smallest, values.shape[1]).amin(1, keepdim=True)
