"""DART: tokens that duplicate a few pivots least."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from stsprune.errors import InvalidArgumentError
from stsprune.selection.attention import real_tokens
from stsprune.selection.budget import budget_tokens

from .base import InstructionAttention, Method, Plan, filter_plan, scaled_layer
from .steps import Step


@dataclass(frozen=True)
class Dart(Method):
    """DART (Wen et al., 2502.11494): pivots by key norm, then what is least similar to them.

    Pivots: the `pivots` image and the `pivots` text tokens of the largest key L1 norm in layer 2
    (sections 3.2, 3.3). Each pivot in turn takes an equal quota of the tokens that are left, those
    of the smallest cosine to it. layer: 0-based; None = 2 of 32, scaled to the depth.
    Differs from the paper: the cosines are those of the layer's keys (heads side by side), not of
    its hidden states.
    """

    ranks: ClassVar[bool] = True
    search: ClassVar[tuple[Step, ...]] = ({"layer": (0, 1, 2)}, {"pivots": (2, 4, 8)})

    layer: int | None = None
    pivots: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layer is not None and (isinstance(self.layer, bool) or self.layer < 0):
            raise InvalidArgumentError(f"layer must be None or an int >= 0, got {self.layer!r}")
        if self.pivots < 1:
            raise InvalidArgumentError(f"pivots must be >= 1, got {self.pivots!r}")

    def plan(self, tokens: int, depth: int) -> Plan:
        """See `Method.plan`."""
        layer = scaled_layer(2, depth) if self.layer is None else self.layer
        return filter_plan(budget_tokens(self.budget, tokens), tokens, depth, layer)

    def score(self, attention: InstructionAttention) -> Tensor:
        """Minus the order in which tokens are taken."""
        assert attention.text_keys is not None
        keys = attention.keys.float().transpose(1, 2).flatten(2)
        text = attention.text_keys.float().transpose(1, 2).flatten(2)
        images, tokens, width = keys.shape
        real = real_tokens(attention.counts, text.shape[1], keys.device)
        wanted = min(self.pivots, tokens, attention.keep)
        visual = keys.abs().sum(-1).topk(wanted).indices
        norms = text.abs().sum(-1).masked_fill(~real, -1)
        spoken = norms.topk(min(self.pivots, min(attention.counts))).indices
        pivots = torch.cat(
            [
                keys.gather(1, visual[..., None].expand(-1, -1, width)),
                text.gather(1, spoken[..., None].expand(-1, -1, width)),
            ],
            1,
        )
        cosine = F.normalize(pivots, dim=-1) @ F.normalize(keys, dim=-1).transpose(1, 2)
        order = torch.full((images, tokens), float(-tokens), device=keys.device)
        order.scatter_(1, visual, 0.0)
        free = torch.ones_like(order, dtype=torch.bool).scatter(1, visual, False)
        left, taken = attention.keep - wanted, 1
        for number in range(pivots.shape[1]):
            quota = -(-left // (pivots.shape[1] - number))
            if not quota:
                continue
            apart = cosine[:, number].masked_fill(~free, torch.inf)
            nearest = apart.sort(dim=-1, stable=True).indices[:, :quota]
            order.scatter_(1, nearest, float(-taken))
            free = free.scatter(1, nearest, False)
            left, taken = left - quota, taken + 1
        return order
