"""FastV: the last prompt token's attention in an early layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from stsprune.errors import InvalidArgumentError
from stsprune.selection.attention import attention_shares
from stsprune.selection.budget import budget_tokens

from .base import InstructionAttention, Method, Plan, filter_plan, scaled_layer
from .steps import Step


def last_token_attention(attention: InstructionAttention) -> Tensor:
    """Attention of the prompt's last token, mean over heads: float32 [I, N]."""
    assert attention.log_total is not None
    last = attention.queries[:, :, -1:]
    total = attention.log_total()[:, :, -1:]
    return attention_shares(last, attention.keys, attention.scale, total)[:, 0]


@dataclass(frozen=True)
class FastV(Method):
    """FastV (Chen et al., 2403.06764): keep what the last prompt token attends to in layer K.

    score_j = mean_h A[h, last, j] (section 4.1). layer: 0-based; None = the paper's K = 2 of 32,
    scaled to the depth. Differs from the paper: tokens are removed (its evaluation masks them),
    and their number follows from the budget.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"attention"})
    search: ClassVar[tuple[Step, ...]] = ({"layer": (0, 1, 2)},)

    layer: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layer is not None and (isinstance(self.layer, bool) or self.layer < 0):
            raise InvalidArgumentError(f"layer must be None or an int >= 0, got {self.layer!r}")

    def plan(self, tokens: int, depth: int) -> Plan:
        """See `Method.plan`."""
        layer = scaled_layer(2, depth) if self.layer is None else self.layer
        return filter_plan(budget_tokens(self.budget, tokens), tokens, depth, layer)

    def score(self, attention: InstructionAttention) -> Tensor:
        """See `last_token_attention`."""
        return last_token_attention(attention)
