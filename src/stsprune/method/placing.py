"""Semantic stages at layers that can score: hybrids have attention in some of their layers only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stsprune.errors import InvalidArgumentError

if TYPE_CHECKING:
    from .base import Plan


def scoring_layer(layer: int, depth: int, scoring: Sequence[int]) -> int:
    """Where a semantic stage of decoder layer `layer` acts: one of `scoring` (ascending).

    The last one at or before it, so that no layer holds more than planned; the first one where none
    is. Raises InvalidArgumentError where no layer that can score has another one behind it.
    """
    if not scoring or scoring[0] > depth - 2:
        raise InvalidArgumentError(
            "semantics must be off (a method with a structure stage only): the model has no "
            "attention layer with another layer behind it"
        )
    return max((candidate for candidate in scoring if candidate <= layer), default=scoring[0])


def moved_stages(plan: Plan, tokens: int, depth: int, scoring: Sequence[int]) -> Plan:
    """The plan of an image of `tokens` with its semantic stages at layers that can score.

    Stages that meet in one layer become the last of them. Where a stage moved behind its own layer,
    all stages are capped so that the layers hold no more than planned together. Raises
    InvalidArgumentError where even one token would be more.
    """
    from .base import Plan, tokens_per_layer

    if all(layer in scoring for layer, _ in plan.semantics):
        return plan
    stages = {scoring_layer(layer, depth, scoring): keep for layer, keep in plan.semantics}

    def capped(most: int) -> Plan:
        return Plan(plan.structure, tuple((at, min(n, most)) for at, n in stages.items()))

    def total(made: Plan) -> int:
        return sum(tokens_per_layer(made, tokens, depth))

    planned, low, high = total(plan), 1, max(stages.values())
    if total(capped(low)) > planned:
        raise InvalidArgumentError(
            f"budget must be at least {total(capped(low)) / depth:.1f} tokens for a model whose "
            f"first attention layer is {scoring[0]}, got {planned / depth:.1f}"
        )
    while low < high:
        middle = (low + high + 1) // 2
        if total(capped(middle)) <= planned:
            low = middle
        else:
            high = middle - 1
    return capped(low)
