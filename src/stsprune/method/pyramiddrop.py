"""PyramidDrop: the last token's attention, in several layers, each keeping a share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from torch import Tensor

from stsprune.errors import InvalidArgumentError
from stsprune.selection.budget import budget_tokens

from .base import InstructionAttention, Method, Plan, too_small
from .fastv import last_token_attention

STAGES = 4


@dataclass(frozen=True)
class PyramidDrop(Method):
    """PyramidDrop (Xing et al., 2410.17247): drop a share of the tokens at every quarter.

    score_j = mean_h A[h, last, j] at the end of each stage (section 3.2); stage s keeps N r^s.
    Published: r = 0.5 at layers 8, 16, 24 of 32, an average of 47 % of the tokens. Here r follows
    from the budget; where even r -> 0 exceeds it, the first stage ends earlier, as in the published
    comparisons at small budgets, and the rest of the layers is cut in three.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"attention"})

    def plan(self, tokens: int, depth: int) -> Plan:
        """See `Method.plan`."""
        budget = budget_tokens(self.budget, tokens)
        return Plan() if budget >= tokens else Plan(None, _pyramid(budget, tokens, depth))

    def score(self, attention: InstructionAttention) -> Tensor:
        """See `fastv.last_token_attention`."""
        return last_token_attention(attention)


@lru_cache(maxsize=256)
def _pyramid(budget: float, tokens: int, depth: int) -> tuple[tuple[int, int], ...]:
    if depth < STAGES:
        raise InvalidArgumentError(f"PyramidDrop needs {STAGES} decoder layers, got {depth}")
    first, total = depth // STAGES, budget * depth
    while first and tokens * first + depth - first > total:
        first -= 1
    if not first:
        raise too_small(budget, (tokens + depth - 1) / depth, tokens, 0)
    rest, ends = depth - first, [first]
    for stage in range(1, STAGES - 1):
        ends.append(first + stage * rest // (STAGES - 1))
    lengths = [b - a for a, b in zip(ends, [*ends[1:], depth], strict=True)]

    def counts(share: float) -> list[int]:
        return [max(1, int(tokens * share**s)) for s in range(1, STAGES)]

    def spent(share: float) -> int:
        return tokens * first + sum(n * d for n, d in zip(counts(share), lengths, strict=True))

    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if spent(middle) <= total else (low, middle)
    kept = counts(low)
    spare = int((total - spent(low)) // lengths[0])
    kept[0] = min(tokens, kept[0] + spare)
    return tuple((end - 1, count) for end, count in zip(ends, kept, strict=True))
