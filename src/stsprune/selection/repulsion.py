"""Stage 1, structure: visual tokens as charges that repel, kept where the potential is low.

The energy of a kept set S is E(S) = sum over its pairs of phi(d_ij), with the softened Riesz
kernel phi(d) = (d^2 + eps^2)^(-exponent / 2) and the distance of `squared_distances`. Greedy
minimisation gives greedy energy (Leja) points: Saff and Kuijlaars, "Distributing many points on a
sphere", 1997; Lopez-Garcia and Saff, "Asymptotics of greedy energy points", 2010. As the exponent
grows, greedy energy becomes farthest-point (max-min) sampling.

The idea of repulsion is that of arXiv 2606.03569, of which only the abstract could be read: the
equations are this project's own. What it means is written down in reference.py; greedy.py chooses
between the paths that are fast, tableless.py works where the table would be large.
"""

from __future__ import annotations

import torch

from .checks import check_keep, check_kept, check_settings, check_tokens, first_tokens
from .distance import potentials, squared_distances
from .greedy import greedy
from .reference import most_isolated
from .tableless import needs_no_table, sample_rows

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

    Deterministic; O(N * keep) after one N x N product, which is not stored where it would exceed
    `tableless.TABLE` bytes. On a GPU the check of the values is the call's only synchronisation.

    Args:
        features: [B, N, Dim], floating point, any scale.
        positions: [N, 2] or [B, N, 2] in [0, 1].
        keep: Tokens to pick, 1 to N.
        space: Weight of position against feature distance, in [0, 1].
        exponent: > 0; larger looks at the nearest kept token only.
        eps: Softening of the kernel, > 0, in units of distance.
        seed: Index of the first token, one for all images or [B]; None for the most isolated.
        refine: Try up to this many best single swaps afterwards; E never rises. The result is then
            no longer nested.

    Returns:
        int64 [B, keep], in order of selection.

    Raises:
        InvalidArgumentError: A shape, value or setting out of what is allowed.
        InvalidTypeError: An argument of another kind.
    """
    check_tokens(features, positions)
    keep = check_keep(keep, features.shape[1])
    check_settings(space, exponent, eps, refine)
    first = first_tokens(seed, features)
    return sample(features, positions, keep, space, exponent, eps, first, refine)


@torch.no_grad()
def sample(
    features: torch.Tensor,
    positions: torch.Tensor,
    keep: int,
    space: float,
    exponent: float,
    eps: float,
    first: torch.Tensor | None = None,
    refine: int = 0,
) -> torch.Tensor:
    """`repulsion` of arguments that are known to be right: no synchronisation with a GPU.

    first: int64 [B], None for the most isolated token.
    """
    if needs_no_table(features):
        return sample_rows(features, positions, keep, space, exponent, eps, first, refine)
    table, logarithm = potentials(features, positions, space, exponent, eps)
    diagonal = table.diagonal(dim1=-2, dim2=-1)
    if first is None:
        diagonal.fill_(-torch.inf if logarithm else 0.0)
        first = most_isolated(table, logarithm)
    diagonal.fill_(torch.inf)  # nothing is chosen twice
    return greedy(table, first, keep, logarithm, refine)


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

    Args:
        features: [B, N, Dim], as in `repulsion`.
        positions: [N, 2] or [B, N, 2] in [0, 1].
        kept: Integer [B, K] or [K], indices into the N tokens.
        space: Weight of position against feature distance, in [0, 1].
        exponent: > 0, as in `repulsion`.
        eps: Softening of the kernel, > 0.
        log: Return log E, which is finite also where E exceeds the number format (large exponents).

    Returns:
        [B], float32 or wider; a single token has E = 0.

    Raises:
        InvalidArgumentError: A shape, value or setting out of what is allowed.
        InvalidTypeError: An argument of another kind.
    """
    check_tokens(features, positions)
    check_settings(space, exponent, eps)
    index = check_kept(kept, features)
    rows = index[..., None]
    mine = features.gather(1, rows.expand(-1, -1, features.shape[-1]))
    where = positions.to(features.device).expand(len(features), *positions.shape[-2:])
    where = where.gather(1, rows.expand(-1, -1, where.shape[-1]))
    pairs = squared_distances(mine, where, space, eps * eps).log_().mul_(-exponent / 2)
    upper = torch.ones_like(pairs, dtype=torch.bool).triu(1)
    total = pairs.masked_fill(~upper, -torch.inf).flatten(1).logsumexp(-1)
    return total if log else total.exp()
