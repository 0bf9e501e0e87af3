"""VisionZip: tokens that the encoder attends to, and merged context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from stsprune.errors import InvalidArgumentError
from stsprune.selection.attention import top_indices
from stsprune.selection.maxmin import cosines
from stsprune.selection.merging import group_means, nearest_target

from .base import InstructionAttention, Method, Plan, VisualTokens, structure_plan
from .steps import Step


@dataclass(frozen=True)
class VisionZip(Method):
    """VisionZip (Yang et al., 2412.04467): dominant tokens, and contextual ones by merging.

    Dominant: the most attention received from CLS in the encoder's second last layer, a_j = sum_h
    A[h, CLS, j] (section 3.2). Of the rest, every n-th is a contextual target; each other token
    joins the target of the largest key cosine and is averaged into it (section 3.3).
    dominant: share of the budget; published 162 of 192, 108 of 128, 54 of 64.
    Differs from the paper: tokens are merged behind the projector, not before it; an encoder
    without CLS gives the attention received from all its tokens.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"encoder"})
    merges: ClassVar[bool] = True
    search: ClassVar[tuple[Step, ...]] = ({"dominant": (0.25, 0.5, 0.675, 0.84375, 0.95)},)

    dominant: float = 54 / 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.dominant <= 1:
            raise InvalidArgumentError(f"dominant must be in (0, 1], got {self.dominant!r}")

    def plan(self, tokens: int, depth: int) -> Plan:
        """See `Method.plan`."""
        return structure_plan(self.budget, tokens)

    def select(self, visual: VisualTokens, keep: int) -> Tensor:
        """Dominant tokens and contextual targets."""
        return torch.cat(self._parts(visual, keep), 1)

    def merge(
        self, states: Tensor, chosen: Tensor, stage: VisualTokens | InstructionAttention
    ) -> Tensor:
        """Targets become the mean of their group; dominant tokens stay as they are."""
        assert isinstance(stage, VisualTokens)
        assert stage.encoder is not None
        dominant, targets = self._parts(stage, chosen.shape[1])
        count = targets.shape[1]
        kept = states.gather(1, chosen[..., None].expand(-1, -1, states.shape[2]))
        if not count:
            return kept
        group = nearest_target(cosines(stage.encoder.keys), targets)
        means = group_means(states, group.scatter(1, dominant, count), count)
        # `chosen` is ascending, `targets` too: a target's rank is its place among them.
        place = torch.searchsorted(chosen, targets)
        return kept.float().scatter(1, place[..., None].expand_as(means), means)

    def _parts(self, visual: VisualTokens, keep: int) -> tuple[Tensor, Tensor]:
        assert visual.encoder is not None
        received = visual.encoder.received
        count = max(1, min(keep, round(self.dominant * keep)))
        dominant = top_indices(received, count)
        rest = top_indices(
            -torch.zeros_like(received).scatter(1, dominant, 1), received.shape[1] - count
        )
        # Every n-th of the rest.
        left, wanted = rest.shape[1], keep - count
        at = torch.arange(wanted, device=rest.device) * max(1, left // max(wanted, 1))
        return dominant, rest[:, at]
