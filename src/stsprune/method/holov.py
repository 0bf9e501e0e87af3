"""HoloV: every crop of the picture gets its share of the budget."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from stsprune.errors import InvalidArgumentError
from stsprune.selection.attention import top_indices
from stsprune.selection.upload import upload

from .base import Method, Plan, VisualTokens, structure_plan
from .steps import Step


@dataclass(frozen=True)
class HoloV(Method):
    """HoloV (Zou et al., 2510.02912): quotas per crop, then the best tokens of each (section 4.1).

    Within a crop of M tokens: V_i = variance over j != i of cos(f_i, f_j); A_i = attention received
    from CLS; H = A + variance * gamma * V with gamma = mean A / mean V. A crop's weight is the mean
    of its H to the power `power`; its quota is that share of the budget, and the best by H stay.
    crops: runs of tokens in raster order, as even as possible (bands of a picture, frames of a
    video); published 4 to 16, alike (table 5). variance: published 1; power: the paper's tau, whose
    value was not found.
    Differs from the paper: cosines are those of the projected features; quotas are rounded by
    Webster's method (the next seat to the largest w / (2 n + 1)), which fills the budget and never
    exceeds a crop, instead of by flooring and redistributing; what was dropped is not fetched again
    in later layers (section 4.1.1). An encoder without CLS gives the attention received from all
    its tokens.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"encoder"})
    search: ClassVar[tuple[Step, ...]] = (
        {"crops": (4, 8, 16)},
        {"variance": (0.0, 1.0, 4.0)},
        {"power": (0.5, 1.0)},
    )

    crops: int = 8
    variance: float = 1.0
    power: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.crops, bool) or not isinstance(self.crops, int) or self.crops < 1:
            raise InvalidArgumentError(f"crops must be an int >= 1, got {self.crops!r}")
        for name in ("variance", "power"):
            value = getattr(self, name)
            if not 0 <= value <= 100:
                raise InvalidArgumentError(f"{name} must be in [0, 100], got {value!r}")

    def plan(self, tokens: int, depth: int) -> Plan:
        """See `Method.plan`."""
        return structure_plan(self.budget, tokens)

    def select(self, visual: VisualTokens, keep: int) -> Tensor:
        """Quotas differ from image to image; their sum does not."""
        assert visual.encoder is not None
        received = visual.encoder.received.float()
        images, tokens = received.shape
        count = min(self.crops, tokens)
        starts = [c * tokens // count for c in range(count + 1)]
        size = max(b - a for a, b in itertools.pairwise(starts))
        # Crops side by side, the shorter ones padded: [crops, size] token indices.
        places = upload(starts[:-1], received.device)[:, None]
        places = places + torch.arange(size, device=received.device)
        real = places < upload(starts[1:], received.device)[:, None]
        places = places.clamp_max(tokens - 1)
        attention = received[:, places] * real
        unit = F.normalize(visual.features.float(), dim=-1)[:, places]
        spread = _variance(unit, real)
        lengths = real.sum(-1)
        means = attention.sum(-1) / lengths
        # Equal features have no variance but rounding: it must not be blown up.
        gamma = means / (spread.sum(-1) / lengths).clamp_min(1e-6)
        held = attention + self.variance * gamma[..., None] * spread
        weight = (held.sum(-1) / lengths) ** self.power
        largest = weight.amax(1, keepdim=True)
        weight = weight / largest.clamp_min(torch.finfo(torch.float32).tiny)
        order = held.masked_fill(~real, -torch.inf).sort(dim=-1, descending=True, stable=True)
        rank = torch.arange(size, device=received.device).expand_as(order.indices)
        rank = torch.zeros_like(order.indices).scatter(2, order.indices, rank)
        # The seat that a token would fill in Webster's method: the highest `keep` are filled.
        seat = weight[..., None] / (2 * rank + 1)
        at = places.masked_fill(~real, tokens).flatten().expand(images, -1)
        seats = seat.new_zeros(images, tokens + 1).scatter(1, at, seat.flatten(1))[:, :tokens]
        return top_indices(seats, keep)


def _variance(unit: Tensor, real: Tensor) -> Tensor:
    """Variance of each token's cosines to the others of its crop: [I, crops, size], 0 for padding.

    unit [I, crops, size, Dim]; real [crops, size].
    """
    size = unit.shape[2]
    diagonal = torch.eye(size, dtype=torch.bool, device=unit.device)
    others = real[:, None] & real[..., None] & ~diagonal
    cosine = (unit @ unit.transpose(-1, -2)) * others
    count = others.sum(-1).clamp_min(1)
    mean = cosine.sum(-1) / count
    return (((cosine - mean[..., None]) * others) ** 2).sum(-1) / count
