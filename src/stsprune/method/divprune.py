"""DivPrune: max-min diversity of the projected features."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from stsprune.selection.maxmin import cosines, max_min

from .base import Method, Plan, VisualTokens, structure_plan


@dataclass(frozen=True)
class DivPrune(Method):
    """DivPrune (Alvar et al., 2503.02175): the tokens whose nearest kept neighbour is farthest.

    D_ij = 1 - cos(f_i, f_j); greedy max-min (algorithm 1). No difference but the batch: all images
    at once.
    """

    def plan(self, tokens: int, depth: int) -> Plan:
        """See `Method.plan`."""
        return structure_plan(self.budget, tokens)

    def select(self, visual: VisualTokens, keep: int) -> Tensor:
        """See `selection.maxmin.max_min`."""
        return max_min(1 - cosines(visual.features), keep)
