"""Maximal marginal relevance: important tokens, less what repeats a kept one."""

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
class MMR(Method):
    """IDPruner's choice (Tan et al., 2602.13315, algorithm 1) without its trained scorer.

    The first token is the most important one; each next one maximises importance * Imp(v) - (1 -
    importance) * max_{s in S} cos(v, s), Imp min-max scaled over the image (section 4). The rule is
    that of Carbonell and Goldstein (1998).
    importance: the paper's lambda, published 0.5.
    Differs from the paper: Imp comes from the attention received from CLS in the encoder (from all
    its tokens where it has none), not from a scorer trained with the model, so that IDPruner's own
    figures are not to be expected; the cosines are those of the projected features.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"encoder"})
    search: ClassVar[tuple[Step, ...]] = ({"importance": (0.1, 0.25, 0.5, 0.75)},)

    importance: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.importance <= 1:
            raise InvalidArgumentError(f"importance must be in [0, 1], got {self.importance!r}")

    def plan(self, tokens: int, depth: int) -> Plan:
        """See `Method.plan`."""
        return structure_plan(self.budget, tokens)

    def select(self, visual: VisualTokens, keep: int) -> Tensor:
        """Greedy; the similarity to the kept set is updated, not computed anew."""
        assert visual.encoder is not None
        similarity = cosines(visual.features)
        received = visual.encoder.received.float()
        low, high = received.amin(1, keepdim=True), received.amax(1, keepdim=True)
        span = (high - low).clamp_min(torch.finfo(torch.float32).tiny)
        worth = self.importance * (received - low) / span
        chosen = received.argmax(1, keepdim=True)
        kept, nearest = [chosen], torch.full_like(worth, -1.0)
        for _ in range(keep - 1):
            row = similarity.gather(1, chosen[..., None].expand(-1, -1, similarity.shape[-1]))
            nearest = nearest.maximum(row[:, 0])
            worth = worth.scatter(1, chosen, -torch.inf)
            chosen = (worth - (1 - self.importance) * nearest).argmax(1, keepdim=True)
            kept.append(chosen)
        return torch.cat(kept, 1)
