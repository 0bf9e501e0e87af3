"""Figures of a kept set: how diverse it is, what it covers, what it holds of the answer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..selection import cell_centres, energy
from ..selection.maxmin import cosines

#: name -> what it says, and whether more is better
FIGURES: dict[str, tuple[str, bool]] = {
    "rank": ("effective rank of the kept features", True),
    "redundancy": ("mean cosine to the nearest kept neighbour", False),
    "energy": ("log of the mean repulsion of a pair", False),
    "hole": ("distance of the farthest cell to a kept one, in cells", False),
    "covered": ("share of the scene's objects with a kept token", True),
    "recall": ("share of the asked object's tokens that are kept", True),
    "found": ("share of questions with a token of every asked object", True),
}


def structure_figures(features: Tensor, kept: Tensor, grid: tuple[int, int]) -> dict[str, Tensor]:
    """Per image, float32 [I]: rank, redundancy, energy, hole.

    features [I, N, Dim]: of all tokens; kept [I, K]. Effective rank: exp of the entropy of the
    normalised singular values (Roy and Vetterli, 2007) of the kept unit features, one per row.
    """
    count = kept.shape[1]
    chosen = features.gather(1, kept[..., None].expand(-1, -1, features.shape[-1]))
    gram = cosines(chosen)
    singular = torch.linalg.eigvalsh(gram.double()).clamp_min(0).sqrt()
    share = singular / singular.sum(-1, keepdim=True)
    rank = torch.special.entr(share).sum(-1).exp().float()
    alone = torch.eye(count, dtype=torch.bool, device=kept.device)
    nearest = gram.masked_fill(alone, -torch.inf).amax(-1).mean(-1)
    if count == 1:
        nearest = torch.zeros_like(rank)
    places = cell_centres(*grid, device=features.device)
    spread = torch.zeros_like(rank)
    if count > 1:
        pairs = torch.tensor(count * (count - 1) / 2)
        spread = energy(features, places, kept, log=True) - pairs.log()
    cells = places * torch.tensor([grid[1], grid[0]], device=places.device)
    gaps = torch.cdist(cells, cells)[:, kept].transpose(0, 1)  # [I, N, K]
    hole = gaps.amin(-1).amax(-1)
    return {"rank": rank, "redundancy": nearest, "energy": spread.float(), "hole": hole}


def coverage_figures(
    kept: Sequence[set[int]], objects: Sequence[Sequence[set[int]]], asked: Sequence[set[int]]
) -> dict[str, list[float | None]]:
    """Per question: covered, recall, found; None where nothing is there to find.

    kept: tokens; objects: the tokens of every object of the scene; asked: those that the answer
    depends on.
    """
    out: dict[str, list[float | None]] = {"covered": [], "recall": [], "found": []}
    for cells, all_objects, wanted in zip(kept, objects, asked, strict=True):
        seen = [bool(owner & cells) for owner in all_objects if owner]
        out["covered"].append(sum(seen) / len(seen) if seen else None)
        out["recall"].append(len(wanted & cells) / len(wanted) if wanted else None)
        owners = [owner for owner in all_objects if owner and owner <= wanted]
        hit = all(owner & cells for owner in owners)
        out["found"].append(float(hit) if owners else None)
    return out


def score_entropy(scores: Tensor) -> Tensor:
    """Entropy of scores over its maximum, in [0, 1]: 0 = all on one token. [I, N] -> [I]."""
    share = scores.float().clamp_min(0)
    share = share / share.sum(-1, keepdim=True).clamp_min(1e-12)
    return torch.special.entr(share).sum(-1) / torch.tensor(float(scores.shape[-1])).log()
