"""Token merging before the LLM, after ToMe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from stsprune.selection.merging import bipartite, group_means

from .base import InstructionAttention, Method, Plan, VisualTokens, structure_plan


@dataclass(frozen=True)
class ToMe(Method):
    """ToMe (Bolya et al., 2210.09461): merge the most similar tokens until the budget is met.

    Bipartite soft matching (section 3), size-weighted means. Differs from the paper: it merges
    between the encoder's blocks by key similarity and corrects attention by the groups' sizes;
    here the projected features are merged, so that any encoder runs as it is.
    """

    merges: ClassVar[bool] = True

    def plan(self, tokens: int, depth: int) -> Plan:
        """See `Method.plan`."""
        return structure_plan(self.budget, tokens)

    def select(self, visual: VisualTokens, keep: int) -> Tensor:
        """One token of every group."""
        return bipartite(visual.features, keep)[0]

    def merge(
        self, states: Tensor, chosen: Tensor, stage: VisualTokens | InstructionAttention
    ) -> Tensor:
        """The mean of every group."""
        assert isinstance(stage, VisualTokens)
        _, group = bipartite(stage.features, chosen.shape[1])
        return group_means(states, group, chosen.shape[1])
