"""Density peaks: clusters without iterations."""

from __future__ import annotations

import torch
from torch import Tensor


def density_peaks(points: Tensor, clusters: int, neighbours: int = 5) -> tuple[Tensor, Tensor]:
    """DPC-KNN clustering (Du et al., 2016, after Rodriguez and Laio, 2014).

    points [I, M, d]. Density rho = exp(- mean squared distance to the nearest neighbours); delta =
    distance to the nearest denser point (the densest: to the farthest); the centres have the
    largest rho * delta and take what is nearest to them.
    Returns (centres [I, clusters] ascending, group [I, M]: the rank of each point's centre).
    """
    distance = torch.cdist(points.float(), points.float())
    distance = distance / points.shape[-1] ** 0.5
    count = min(neighbours, points.shape[1])
    near = distance.topk(count, largest=False).values
    rho = (-near.square().mean(-1)).exp()
    denser = rho[:, None] > rho[..., None]
    far = distance.amax(-1)
    delta = distance.masked_fill(~denser, torch.inf).amin(-1)
    delta = torch.where(delta.isinf(), far, delta)
    centres = (rho * delta).sort(dim=-1, descending=True, stable=True).indices[:, :clusters]
    centres = centres.sort(-1).values
    among = distance.gather(2, centres[:, None].expand(-1, points.shape[1], -1))
    rank = torch.arange(clusters, device=points.device).expand_as(centres)
    return centres, among.argmin(-1).scatter(1, centres, rank)
