"""SCOPE: tokens that cover the rest, weighted by saliency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from stsprune.errors import InvalidArgumentError
from stsprune.selection.maxmin import cosines

from .base import Method, Plan, VisualTokens, structure_plan
from .steps import Step


@dataclass(frozen=True)
class Scope(Method):
    """SCOPE (Deng et al., 2510.24214): greedy set coverage, times saliency.

    f(S) = sum_u max_{s in S} cos(u, s), 0 for the empty set; each next token maximises
    (f(S + v) - f(S)) * a_v^alpha, with a_v the attention received from CLS.
    alpha: published 1; 0 = coverage alone.
    Differs from the paper: the cosines are those of the projected features, not of the encoder's
    outputs; an encoder without CLS gives the attention received from all its tokens. Where nothing
    is left to cover, the most salient token is next, not the first.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"encoder"})
    search: ClassVar[tuple[Step, ...]] = ({"alpha": (0.0, 0.5, 1.0, 1.5)},)

    alpha: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.alpha <= 10:
            raise InvalidArgumentError(f"alpha must be in [0, 10], got {self.alpha!r}")

    def plan(self, tokens: int, depth: int) -> Plan:
        """See `Method.plan`."""
        return structure_plan(self.budget, tokens)

    @torch.no_grad()
    def select(self, visual: VisualTokens, keep: int) -> Tensor:
        """Greedy: O(N^2) per token, one buffer of that size."""
        assert visual.encoder is not None
        similarity = cosines(visual.features)
        received = visual.encoder.received.float()
        peak = received.amax(1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
        saliency = (received / peak) ** self.alpha
        covered = torch.zeros_like(saliency)
        left = torch.zeros_like(saliency)  # -inf once taken
        more = torch.empty_like(similarity)
        kept = []
        for _ in range(keep):
            torch.sub(similarity, covered[:, None], out=more)
            # Below any real gain, so that saliency decides among tokens that cover nothing new.
            gain = more.clamp_min_(0).sum(-1) + 1e-6
            chosen = (gain * saliency + left).argmax(1, keepdim=True)
            kept.append(chosen)
            left = left.scatter(1, chosen, -torch.inf)
            row = similarity.gather(1, chosen[..., None].expand(-1, -1, similarity.shape[-1]))
            covered = covered.maximum(row[:, 0])
        return torch.cat(kept, 1)
