"""Random choice before the LLM: the baseline that every method has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .base import Method, Plan, VisualTokens, structure_plan


@dataclass(frozen=True)
class Random(Method):
    """Uniformly random tokens before the LLM; a surprisingly strong baseline (2511.02650).

    seed: the choice depends on it and on the image's number in the batch, on nothing else.
    """

    draws: ClassVar[bool] = True

    seed: int = 0

    def plan(self, tokens: int, depth: int) -> Plan:
        """See `Method.plan`."""
        return structure_plan(self.budget, tokens)

    def select(self, visual: VisualTokens, keep: int) -> Tensor:
        """A prefix of a random permutation per image."""
        tokens = visual.features.shape[1]
        orders = [
            torch.randperm(tokens, generator=torch.Generator().manual_seed(self.seed + 7919 * i))
            for i in visual.images
        ]
        return torch.stack(orders)[:, :keep].to(visual.features.device, non_blocking=True)
