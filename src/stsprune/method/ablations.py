"""STS with one thing taken away or changed, to see what that thing is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from stsprune.errors import InvalidArgumentError
from stsprune.selection.attention import top_indices
from stsprune.selection.budget import budget_tokens
from stsprune.selection.repulsion import repulsion

from .base import (
    InstructionAttention,
    Method,
    Plan,
    VisualTokens,
    falling_plan,
    filter_plan,
    structure_plan,
)
from .steps import EXPONENTS, FALLS, FILTER, QUERY, REPULSION, WITHDRAWAL, Step
from .sts import STS


@dataclass(frozen=True)
class StructureOnly(STS):
    """STS without its semantic stage: repulsion spends the whole budget."""

    ablation: ClassVar[bool] = True
    search: ClassVar[tuple[Step, ...]] = (REPULSION,)

    semantics: bool = False


@dataclass(frozen=True)
class SemanticsOnly(STS):
    """STS without its structure stage: the earliest filter that the budget allows."""

    ablation: ClassVar[bool] = True
    search: ClassVar[tuple[Step, ...]] = (WITHDRAWAL, {"layer": (0, 1)}, QUERY)

    structure: bool = False
    layer: int | None = 0


@dataclass(frozen=True)
class WithoutFilter(STS):
    """STS without the instruction's filter: repulsion, then the withdrawal alone."""

    ablation: ClassVar[bool] = True
    search: ClassVar[tuple[Step, ...]] = (WITHDRAWAL, REPULSION)

    ratio: float = 1.0

    def plan(self, tokens: int, depth: int) -> Plan:
        """See `Method.plan`: as many tokens up to the withdrawal as the budget allows."""
        budget = budget_tokens(self.budget, tokens)
        last = self.withdrawal(depth)
        if last is None:
            return structure_plan(self.budget, tokens)
        if budget >= tokens:
            return Plan()
        behind = depth - 1 - last
        keep = min(tokens, int((budget * depth - behind) // (last + 1)))
        left = int((budget * depth - keep * (last + 1)) // behind)
        return falling_plan(tokens, keep, (last, left))


@dataclass(frozen=True)
class WithoutWithdrawal(STS):
    """STS without the withdrawal: the filtered tokens stay to the end."""

    ablation: ClassVar[bool] = True
    search: ClassVar[tuple[Step, ...]] = (REPULSION, FILTER, FALLS, QUERY)

    withdraw: float | None = None
    ratio: float = 1.4


@dataclass(frozen=True)
class FeaturesOnly(STS):
    """STS with space = 0: tokens repel by feature alone."""

    ablation: ClassVar[bool] = True
    search: ClassVar[tuple[Step, ...]] = (WITHDRAWAL, EXPONENTS, FILTER, FALLS)

    space: float = 0.0


@dataclass(frozen=True)
class PlacesOnly(STS):
    """STS with space = 1: tokens repel by place alone."""

    ablation: ClassVar[bool] = True
    search: ClassVar[tuple[Step, ...]] = (WITHDRAWAL, EXPONENTS, FILTER, FALLS)

    space: float = 1.0


@dataclass(frozen=True)
class AttentionOnly(Method):
    """The encoder's attention alone, before the LLM: what CLS attends to, as in FasterVLM.

    The selection whose collapse arXiv 2606.03569 describes (FasterVLM: 2412.01818v1). An encoder
    without CLS gives the attention received from all its tokens.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"encoder"})
    ablation: ClassVar[bool] = True

    def plan(self, tokens: int, depth: int) -> Plan:
        """See `Method.plan`."""
        return structure_plan(self.budget, tokens)

    def select(self, visual: VisualTokens, keep: int) -> Tensor:
        """The most attention received."""
        assert visual.encoder is not None
        return top_indices(visual.encoder.received, keep)


@dataclass(frozen=True)
class Swapped(STS):
    """STS the other way round: the instruction's attention filters first, then repulsion.

    In one layer, the first by default: the `pool` times K tokens of the highest score, of which
    repulsion keeps K.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"embeddings"})
    ablation: ClassVar[bool] = True
    ranks: ClassVar[bool] = True
    search: ClassVar[tuple[Step, ...]] = ({"pool": (1.25, 1.5, 2.0, 3.0)}, QUERY)

    layer: int | None = 0
    pool: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.potential is not None:
            raise InvalidArgumentError(
                f"potential must be None where the filter comes first, got {self.potential!r}"
            )

    def plan(self, tokens: int, depth: int) -> Plan:
        """See `Method.plan`."""
        return filter_plan(budget_tokens(self.budget, tokens), tokens, depth, self.layer or 0)

    def score(self, attention: InstructionAttention) -> Tensor:
        """Minus the rank in the repulsion's order among the pool."""
        assert attention.features is not None
        assert attention.positions is not None
        scores = super().score(attention)
        tokens = scores.shape[1]
        pool = top_indices(scores, min(tokens, round(self.pool * attention.keep)))
        features = attention.features
        pooled = features.gather(1, pool[..., None].expand(-1, -1, features.shape[-1]))
        places = attention.positions[attention.kept.gather(1, pool)]
        order = repulsion(
            pooled,
            places,
            attention.keep,
            space=self.space,
            exponent=self.exponent,
            eps=self.eps,
        )
        best = pool.gather(1, order)
        return scores.new_zeros(scores.shape).scatter(1, best, 1.0)
