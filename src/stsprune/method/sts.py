"""Structure-to-Semantics (STS): repulsion before the LLM, instruction attention inside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from stsprune.errors import InvalidArgumentError
from stsprune.selection.adaptive import along, count
from stsprune.selection.attention import instruction_scores, peak_scores, query_weights
from stsprune.selection.budget import budget_tokens, kept_tokens, split_budget
from stsprune.selection.checks import check_potential, check_settings
from stsprune.selection.repulsion import EPS, EXPONENT, SPACE, repulsion, sample

from .base import (
    InstructionAttention,
    Method,
    Plan,
    VisualTokens,
    check_layer,
    falling_plan,
    filter_plan,
    structure_plan,
    tokens_per_layer,
)
from .placing import moved_stages, scoring_layer
from .steps import FALLS, FILTER, QUERY, REPULSION, WITHDRAWAL, Step

QUERIES = ("peak", "last", "all")


@dataclass(frozen=True)
class STS(Method):
    """Structure-to-Semantics: repulsion-based sampling, then instruction-aware filtering.

    Idea: arXiv 2606.03569. Only its abstract could be read; the equations (docs/method.md) are
    this project's own.

    The defaults were tuned on SceneQA's validation split (evaluation/tuned.json, `stsprune tune`):
    144 tokens and answers of one word. At 576 tokens more `space` was better, and answers of
    several tokens want no withdrawal (docs/method.md).

    Args:
        budget: Average visual tokens per decoder layer and image; int = tokens, an upper bound,
            float in (0, 1] = a fraction of the image's tokens.
        space: Weight of place against feature distance, in [0, 1]; see `stsprune.repulsion`.
        exponent: Of the repulsion, > 0.
        eps: Softening of the repulsion, > 0.
        layer: Decoder layer whose attention filters, 0-based; None = a quarter of the depth.
        ratio: Tokens that enter the LLM over the budget, >= 1; the rest of the budget is what
            stays after the filter.
        steps: How often the filter acts, an eighth of the depth apart, in equal falls: what an
            early layer cannot judge yet is left to a later one.
        queries: "peak" (the most that any head of any token of the text after the image looks at
            it), "last" (the prompt's last token, mean over heads) or "all" (mean over the text's
            tokens).
        withdraw: Share of the decoder's layers after which the best scored token per image is
            enough, because the text has read the picture (Lin et al., Visual Tokens Withdrawal,
            2405.05803); the layers before get the budget saved there, as far as they can use it.
            None = never.
        structure: False leaves the structure stage out.
        semantics: False leaves the semantic stages out; not both.
        potential: log mu; each picture then gets as many tokens as repel each other with less than
            mu (`stsprune.selection.counts_below`), and the budget is a cap. None = the budget for
            all.
        encoder: A stage inside the vision tower, before all others (`EncoderStage`, its settings by
            name, or its share of the patches); None = no such stage. Not beside `potential`.

    Raises:
        InvalidArgumentError: A setting out of what is allowed.
        InvalidTypeError: A budget that is no number.
    """

    search: ClassVar[tuple[Step, ...]] = (WITHDRAWAL, REPULSION, FILTER, FALLS, QUERY)

    space: float = SPACE
    exponent: float = EXPONENT
    eps: float = EPS
    layer: int | None = None
    ratio: float = 1.625
    steps: int = 2
    queries: str = "peak"
    withdraw: float | None = 0.625
    structure: bool = True
    semantics: bool = True
    potential: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings(self.space, self.exponent, self.eps)
        if self.layer is not None and (isinstance(self.layer, bool) or self.layer < 0):
            raise InvalidArgumentError(f"layer must be None or an int >= 0, got {self.layer!r}")
        if not 1 <= self.ratio <= 100:
            raise InvalidArgumentError(f"ratio must be in [1, 100], got {self.ratio!r}")
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise InvalidArgumentError(f"steps must be an int >= 1, got {self.steps!r}")
        if self.queries not in QUERIES:
            raise InvalidArgumentError(
                f"queries must be one of {', '.join(QUERIES)}, got {self.queries!r}"
            )
        if self.withdraw is not None and not 0 < self.withdraw <= 1:
            raise InvalidArgumentError(f"withdraw must be None or in (0, 1], got {self.withdraw!r}")
        if not (self.structure or self.semantics):
            raise InvalidArgumentError("structure and semantics must not both be False")
        if self.potential is None:
            return
        object.__setattr__(self, "potential", check_potential(self.potential))
        if not self.structure:
            raise InvalidArgumentError(
                f"potential must be None without a structure stage, got {self.potential!r}"
            )
        if self.encoder is not None:
            raise InvalidArgumentError(
                "potential must be None beside a stage inside the encoder, which leaves before "
                f"potentials are known, got {self.potential!r}"
            )

    @property
    def adapts(self) -> bool:
        """See `Method.adapts`."""
        return self.potential is not None

    def counts(self, visual: VisualTokens) -> Tensor:
        """See `Method.counts`: how many tokens repel each other with less than `potential`."""
        most = kept_tokens(self.budget, visual.features.shape[1])
        return self.counts_along(visual, self.select(visual, most))

    def counts_along(self, visual: VisualTokens, order: Tensor) -> Tensor:
        """`counts` where the order of `select` is known, [I, K] up to the cap."""
        assert self.potential is not None
        features, positions = visual.features, visual.positions
        added = along(features, positions, order, self.space, self.exponent, self.eps)
        return count(added, self.potential)

    def fixed(self, budget: int | float) -> Method:
        """See `Method.fixed`."""
        return replace(self, budget=budget, potential=None)

    def plan(self, tokens: int, depth: int) -> Plan:
        """See `Method.plan`. A budget of all tokens prunes nothing."""
        budget = budget_tokens(self.budget, tokens)
        if budget >= tokens:
            return Plan()
        if not self.semantics:
            return structure_plan(self.budget, tokens)
        layer = check_layer(depth // 4 if self.layer is None else self.layer, depth)
        last = self.withdrawal(depth, layer)
        if not self.structure:
            return filter_plan(budget, tokens, depth, layer, last)
        # The layers up to the withdrawal share what those behind it leave over.
        end, total = depth if last is None else last + 1, budget * depth
        share = min((total - (depth - end)) / end, tokens)
        gap = max(1, depth // 8)
        steps = min(self.steps, 1 + (end - layer - 2) // gap)
        before = layer + 1 + gap * (steps - 1) / 2
        ratio = max(1.0, self.ratio * budget / share)
        first, second = split_budget(share, tokens, end, before, ratio)
        falls = [
            (layer + gap * step, first - math.ceil((first - second) * (step + 1) / steps))
            for step in range(steps)
        ]
        plan = falling_plan(tokens, first, *falls)
        if last is None:
            return plan
        left = total - sum(tokens_per_layer(plan, tokens, end))
        return falling_plan(tokens, first, *falls, (last, int(left // (depth - end))))

    def plan_on(self, tokens: int, depth: int, scoring: Sequence[int]) -> Plan:
        """See `Method.plan_on`: the budget is split for the layer that filters in the end."""
        layer = depth // 4 if self.layer is None else self.layer
        placed = self
        if self.semantics and layer not in scoring and layer <= depth - 2:
            placed = replace(self, layer=scoring_layer(layer, depth, scoring))
        return moved_stages(placed.plan(tokens, depth), tokens, depth, scoring)

    def withdrawal(self, depth: int, after: int = -1) -> int | None:
        """The decoder layer of `withdraw`, if it lies behind `after` and has a layer behind it."""
        last = depth if self.withdraw is None else int(self.withdraw * depth)
        return last if after < last <= depth - 2 else None

    def select(self, visual: VisualTokens, keep: int) -> Tensor:
        """Greedy energy minimisation, see `stsprune.repulsion`."""
        # Checking values means waiting for a GPU: only where it costs nothing.
        choose = repulsion if visual.features.device.type == "cpu" else sample
        return choose(
            visual.features,
            visual.positions,
            keep,
            space=self.space,
            exponent=self.exponent,
            eps=self.eps,
        )

    def score(self, attention: InstructionAttention) -> Tensor:
        """Attention of the instruction's tokens over the image's visual tokens."""
        queries = attention.queries
        if self.queries == "peak":
            return peak_scores(queries, attention.keys, attention.counts, attention.scale)
        weights = query_weights(attention.counts, queries.shape[2], self.queries, queries.device)
        return instruction_scores(queries, attention.keys, weights, attention.scale)
