"""A method around another one, for those who watch what it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from .base import InstructionAttention, Method, Plan, VisualTokens


class Wrapped(Method):
    """`inner`, asked through this one, at its budget; a subclass overrides what it watches.

    Its class bears the inner one's name, which is what the engine's errors and warnings say.
    """

    inner: Method

    def __new__(cls, inner: Method, *_: Any) -> Wrapped:
        """An instance of a subclass of `cls` that is named like `inner`'s class."""
        return super().__new__(type(type(inner).__name__, (cls,), {}))

    def __init__(self, inner: Method) -> None:
        super().__init__(inner.budget, encoder=inner.encoder)
        self.inner = inner
        # Facts of a class everywhere else; here each instance has its own.
        vars(self).update(needs=inner.needs, merges=inner.merges, reads_text=inner.reads_text)

    @property
    def tower_layers(self) -> tuple[float, ...]:
        """See `Method.tower_layers`."""
        return self.inner.tower_layers

    @property
    def adapts(self) -> bool:
        """See `Method.adapts`."""
        return self.inner.adapts

    def counts(self, visual: VisualTokens) -> Tensor:
        """See `Method.counts`."""
        return self.inner.counts(visual)

    def fixed(self, budget: int | float) -> Method:
        """See `Method.fixed`; not wrapped: it only plans."""
        return self.inner.fixed(budget)

    def plan(self, tokens: int, depth: int) -> Plan:
        """See `Method.plan`."""
        return self.inner.plan(tokens, depth)

    def plan_on(self, tokens: int, depth: int, scoring: Sequence[int]) -> Plan:
        """See `Method.plan_on`."""
        return self.inner.plan_on(tokens, depth, scoring)

    def select(self, visual: VisualTokens, keep: int) -> Tensor:
        """See `Method.select`."""
        return self.inner.select(visual, keep)

    def score(self, attention: InstructionAttention) -> Tensor:
        """See `Method.score`."""
        return self.inner.score(attention)

    def merge(
        self, states: Tensor, chosen: Tensor, stage: VisualTokens | InstructionAttention
    ) -> Tensor:
        """See `Method.merge`."""
        return self.inner.merge(states, chosen, stage)
