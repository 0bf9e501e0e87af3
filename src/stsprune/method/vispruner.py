"""VisPruner: important tokens by the encoder's attention, the rest by difference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from stsprune.errors import InvalidArgumentError
from stsprune.selection.attention import top_indices

from .base import Method, Plan, VisualTokens, structure_plan
from .steps import Step

STEP = 8  # duplicates dropped between two splits


@dataclass(frozen=True)
class VisPruner(Method):
    """VisPruner (Zhang et al., 2412.01818): important tokens and diverse ones.

    Important: the most attention received from CLS (section 3.2). Of the rest, split again and
    again into even and odd, the even ones that are most similar to some odd one are dropped until
    the count is met (section 3.3). important: their share of the budget, published 0.5.
    Differs from the paper: similarity is that of the projected features; up to 8 tokens are dropped
    between two splits. An encoder without CLS gives the attention received from all its tokens.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"encoder"})
    search: ClassVar[tuple[Step, ...]] = ({"important": (0.1, 0.25, 0.5, 0.75)},)

    important: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.important <= 1:
            raise InvalidArgumentError(f"important must be in [0, 1], got {self.important!r}")

    def plan(self, tokens: int, depth: int) -> Plan:
        """See `Method.plan`."""
        return structure_plan(self.budget, tokens)

    def select(self, visual: VisualTokens, keep: int) -> Tensor:
        """Important tokens, then the diverse rest."""
        assert visual.encoder is not None
        received = visual.encoder.received
        count = round(self.important * keep)
        important = top_indices(received, count)
        rest = top_indices(
            -torch.zeros_like(received).scatter(1, important, 1), received.shape[1] - count
        )
        unit = F.normalize(visual.features.float(), dim=-1)
        while rest.shape[1] > keep - count:
            left = rest.shape[1]
            if keep == count:
                rest = rest[:, :0]
                break
            drop = min(STEP, left - (keep - count), left // 2)
            own = unit.gather(1, rest[..., None].expand(-1, -1, unit.shape[2]))
            similarity = (own[:, ::2] @ own[:, 1::2].transpose(1, 2)).amax(-1)
            worst = 2 * similarity.sort(dim=-1, descending=True, stable=True).indices[:, :drop]
            gone = torch.zeros_like(rest).scatter(1, worst, 1)
            rest = rest.gather(1, gone.sort(dim=1, stable=True).indices[:, : left - drop])
        return torch.cat((important, rest), 1)
