"""HiPrune: what a middle layer of the encoder looks at, and what its last one does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from stsprune.errors import InvalidArgumentError
from stsprune.selection.attention import top_indices
from stsprune.selection.grid import grown

from .base import Method, Plan, VisualTokens, structure_plan
from .steps import Step

#: An anchor and its four neighbours.
CROSS = 5
#: The last layer whose output counts: LLaVA's second last.
OUTPUT = 1.0


@dataclass(frozen=True)
class HiPrune(Method):
    """HiPrune (Liu et al., 2508.00553): anchors, buffers and registers.

    a_j: the attention that token j receives in a layer, mean over heads and queries. Anchors have
    the largest a in the object layer, one per five tokens of the share `objects`; buffers are their
    four neighbours in place; registers, the rest of the budget, have the largest a in the output
    layer among the tokens that are left.
    objects: share of the budget for anchors and buffers, the paper's alpha, published 0.1;
    object_layer: share of the encoder's layers, published 9 / 24 (CLIP), 16 / 32 (Qwen2.5-VL).
    Differs from the paper: at least one anchor; an encoder with windows gives its nearest layer
    that sees whole frames.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"encoder"})
    search: ClassVar[tuple[Step, ...]] = (
        {"objects": (0.1, 0.3, 0.6, 0.9)},
        {"object_layer": (0.2, 9 / 24, 0.5, 0.7)},
    )

    objects: float = 0.1
    object_layer: float = 9 / 24

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("objects", "object_layer"):
            value = getattr(self, name)
            if not 0 < value <= 1:
                raise InvalidArgumentError(f"{name} must be in (0, 1], got {value!r}")

    @property
    def tower_layers(self) -> tuple[float, ...]:
        """See `Method`."""
        return self.object_layer, OUTPUT

    def plan(self, tokens: int, depth: int) -> Plan:
        """See `Method.plan`."""
        return structure_plan(self.budget, tokens)

    def select(self, visual: VisualTokens, keep: int) -> Tensor:
        """Anchors come first, then buffers, then registers."""
        assert visual.encoder is not None
        assert visual.encoder.layers is not None
        objects, registers = visual.encoder.layers.unbind(-1)
        anchors = max(1, round(self.objects * keep) // CROSS)
        marked = torch.zeros_like(objects).scatter(1, top_indices(objects, anchors), 1.0)
        around = grown(marked, visual.grids)
        # Buffers may coincide or fall off the picture: registers take what they leave.
        by_objects, by_registers = _ranks(objects), _ranks(registers)
        order = torch.where(around > 0, 1 + by_objects, by_registers)
        return top_indices(torch.where(marked > 0, 2 + by_objects, order), keep)


def _ranks(scores: Tensor) -> Tensor:
    """Place of each score in its row [I, N], in [0, 1), the largest last, ties to the lowest."""
    order = scores.sort(dim=-1, descending=True, stable=True).indices
    tokens = scores.shape[1]
    places = torch.arange(tokens - 1, -1, -1, device=scores.device, dtype=torch.float32) / tokens
    return torch.empty_like(scores, dtype=torch.float32).scatter(1, order, places.expand_as(order))
