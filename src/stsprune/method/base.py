"""What a pruning method is: an optional structure stage before the LLM, semantic stages inside.

A method plans how many tokens each stage keeps and chooses which. It sees tensors only: no model,
no hook, no transformers, so serving can use it too. Add one by writing one file and registering
its class in `method/__init__.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, ClassVar

from torch import Tensor

from stsprune.errors import InvalidArgumentError
from stsprune.selection.budget import check_budget, kept_tokens

from .encoder import EncoderStage, encoder_stage
from .placing import moved_stages
from .steps import Step


@dataclass(frozen=True)
class Plan:
    """Token counts for an image of N tokens.

    structure: tokens that enter the LLM, None = all; semantics: (decoder layer, tokens) pairs,
    ascending in layer; the drop takes effect from the following layer on.
    """

    structure: int | None = None
    semantics: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class EncoderView:
    """What the vision encoder made of the same tokens, in its second last layer.

    received [I, N]: attention that each token receives, mean over the heads: from CLS where the
    encoder has one (`from_cls`), else the mean over all its tokens; keys [I, N, d]: attention keys,
    heads side by side; layers [I, N, L]: attention received in `Method.tower_layers`, mean over the
    heads and all tokens, given where there are any.
    """

    received: Tensor
    keys: Tensor
    from_cls: bool
    layers: Tensor | None = None


@dataclass(frozen=True)
class VisualTokens:
    """Images of one size as they enter the LLM.

    features [I, N, Dim]: projector outputs; positions [N, 2]: cell centres (x, y) in [0, 1], or
    [N, 3] with time for a video, [I, N, ...] where an encoder stage left N of the image's tokens
    behind; grid: (H, W) or (T, H, W) of all of them, row-major; images: number of each
    image in its batch, for seeds; text [I, T, Dim]: embeddings of the text behind the image,
    right-aligned, text_counts: how many of T are real; encoder: given where `Method.needs` asks;
    planes: (H, W) of every grid that the tokens lie on, one after the other (thumbnail and
    picture, frames of a video), where there are several.
    """

    features: Tensor
    positions: Tensor
    grid: tuple[int, ...]
    images: tuple[int, ...]
    text: Tensor | None = None
    text_counts: list[int] = field(default_factory=list)
    encoder: EncoderView | None = None
    planes: tuple[tuple[int, int], ...] = ()

    @property
    def grids(self) -> tuple[tuple[int, ...], ...]:
        """(H, W) of every grid that the tokens lie on: `planes`, or the frames of `grid`."""
        return self.planes or (self.grid[-2:],) * math.prod(self.grid[:-2])


@dataclass(frozen=True)
class InstructionAttention:
    """A decoder layer's view of the images of one size; all after the rotary embedding.

    layer: 0-based; keep: how many tokens will stay; queries [I, H, T, d] of the text behind the
    image, right-aligned; counts: how many of T are real, per image; keys [I, H_kv, N, d] of the
    tokens still there; kept [I, N]: their grid indices; scale: of the dot product; text_keys [I,
    H_kv, T, d]: of the same text as the queries; log_total(): float32 [I, H, T], log of the sum of
    exp(q . k * scale) over everything that a query may attend to, so that exp(q . k * scale -
    log_total) is the layer's own attention; positions [N_0, 2 or 3]: of all the image's tokens,
    `kept` indexes them; features [I, N, Dim] and text [I, T, Dim]: embeddings as they entered the
    LLM, given where `Method.needs` asks for "embeddings".
    """

    layer: int
    keep: int
    queries: Tensor
    counts: list[int]
    keys: Tensor
    kept: Tensor
    scale: float
    text_keys: Tensor | None = None
    log_total: Callable[[], Tensor] | None = None
    positions: Tensor | None = None
    features: Tensor | None = None
    text: Tensor | None = None


@dataclass(frozen=True)
class Method:
    """Base of every method.

    budget: average visual tokens per decoder layer and image; int = tokens, float in (0, 1] = a
    fraction of the image's tokens. It is an upper bound: an image with no more tokens than an int
    keeps them all. numpy's numbers become builtin ones. Raises InvalidArgumentError or
    InvalidTypeError when built.
    encoder: a stage inside the vision tower, before all others; also its settings by name, or its
    share alone.
    needs: what the engine must provide beyond the tokens: "encoder" (`VisualTokens.encoder`),
    "embeddings" and "attention" (`log_total`) of `InstructionAttention`. merges: whether `merge`
    is called after each stage. reads_text: whether `select` depends on the text. draws: at random,
    by a setting `seed`. adapts: `counts` says how many tokens each image gets. ranks: scores are
    places in an order, their values mean nothing else. ablation: STS with something taken away or
    changed. search: steps that `stsprune tune` walks. whole: `select` or `merge` counts on every
    token of the picture being there.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    merges: ClassVar[bool] = False
    reads_text: ClassVar[bool] = False
    draws: ClassVar[bool] = False
    ranks: ClassVar[bool] = False
    ablation: ClassVar[bool] = False
    search: ClassVar[tuple[Step, ...]] = ()

    whole: ClassVar[bool] = False

    budget: int | float = field()
    encoder: EncoderStage | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "budget", check_budget(self.budget))
        object.__setattr__(self, "encoder", encoder_stage(self.encoder))
        if self.encoder is not None and (self.whole or "encoder" in self.needs):
            raise InvalidArgumentError(
                f"encoder must be None for {type(self).__name__}, which looks at all tokens of a "
                f"picture, got {self.encoder!r}"
            )

    def settings(self) -> dict[str, Any]:
        """Every setting as JSON has it, the budget first; the class takes them all back."""
        return {
            setting.name: asdict(value) if isinstance(value, EncoderStage) else value
            for setting in fields(self)
            for value in [getattr(self, setting.name)]
        }

    def plan(self, tokens: int, depth: int) -> Plan:
        """Counts for an image of `tokens` in an LLM of `depth` decoder layers."""
        raise NotImplementedError

    def plan_on(self, tokens: int, depth: int, scoring: Sequence[int]) -> Plan:
        """`plan` for a model of which only the layers `scoring`, ascending, can score.

        Raises InvalidArgumentError as `plan` does, and where no layer can.
        """
        return moved_stages(self.plan(tokens, depth), tokens, depth, scoring)

    @property
    def tower_layers(self) -> tuple[float, ...]:
        """Encoder layers, as shares of those whose output counts: see `EncoderView.layers`."""
        return ()

    @property
    def adapts(self) -> bool:
        """Whether each image's count follows from its content; the budget is then a cap."""
        return False

    def counts(self, visual: VisualTokens) -> Tensor:
        """What each image takes for its budget: int64 [I], in 1..N. Only where `adapts` is True."""
        raise NotImplementedError

    def fixed(self, budget: int | float) -> Method:
        """The same method at that budget, for every image."""
        return replace(self, budget=budget)

    def select(self, visual: VisualTokens, keep: int) -> Tensor:
        """Structure stage: indices [I, keep] of the tokens to keep, any order."""
        raise NotImplementedError

    def score(self, attention: InstructionAttention) -> Tensor:
        """Semantic stage: a score [I, N] per token, higher = kept first."""
        raise NotImplementedError

    def merge(
        self, states: Tensor, chosen: Tensor, stage: VisualTokens | InstructionAttention
    ) -> Tensor:
        """What the kept tokens become: states [I, N, Dim] -> [I, K, Dim].

        states: hidden states of the tokens that the stage chose from (projector outputs before
        the LLM); chosen [I, K]: ascending indices into them. Called only where `merges` is True.
        """
        raise NotImplementedError


def structure_plan(budget: int | float, tokens: int) -> Plan:
    """Everything is chosen before the LLM: the budget (`Method.budget`) is what enters it."""
    keep = kept_tokens(budget, tokens)
    return Plan(structure=keep) if keep < tokens else Plan()


def filter_plan(
    mean_tokens: float, tokens: int, depth: int, layer: int, withdrawal: int | None = None
) -> Plan:
    """All tokens run up to `layer`, as many as the budget allows after it.

    mean_tokens: the budget in tokens; withdrawal: the layer after which only what is left of the
    budget stays, at least one token. Raises InvalidArgumentError where the first layers alone
    exceed the budget.
    """
    if mean_tokens >= tokens:
        return Plan()
    end = depth if withdrawal is None else withdrawal + 1
    before = check_layer(layer, depth) + 1
    between, behind = end - before, depth - end
    keep = min(tokens, int((mean_tokens * depth - tokens * before - behind) // between))
    if keep < 1:
        raise too_small(mean_tokens, (tokens * before + between + behind) / depth, tokens, layer)
    if withdrawal is None:
        return falling_plan(tokens, tokens, (layer, keep))
    left = int((mean_tokens * depth - tokens * before - keep * between) // behind)
    return falling_plan(tokens, tokens, (layer, keep), (withdrawal, left))


def falling_plan(tokens: int, first: int, *semantics: tuple[int, int]) -> Plan:
    """`first` of an image's `tokens` enter the LLM; without the stages that would drop nothing."""
    held, real = first, []
    for layer, count in semantics:
        if count < held:
            real.append((layer, count))
            held = count
    return Plan(first if first < tokens else None, tuple(real))


def tokens_per_layer(plan: Plan, tokens: int, depth: int) -> list[int]:
    """Visual tokens that each decoder layer computes, for an image of `tokens`."""
    held = tokens if plan.structure is None else plan.structure
    drops, counts = dict(plan.semantics), []
    for layer in range(depth):
        counts.append(held)
        held = drops.get(layer, held)
    return counts


def layer_average(drops: Sequence[tuple[int, int]], tokens: int, depth: int) -> float:
    """Visual tokens that a decoder layer computes on average, for an image of `tokens`.

    drops: (layer, tokens left) pairs as a trace has them, ascending; layer -1 is the structure
    stage; each takes effect from the following layer on.
    """
    inside = tuple(drop for drop in drops if drop[0] >= 0)
    plan = Plan(dict(drops).get(-1), inside)
    return sum(tokens_per_layer(plan, tokens, depth)) / depth


def too_small(mean_tokens: float, least: float, tokens: int, layer: int) -> InvalidArgumentError:
    """The error of a method that drops nothing before `layer`; `least` as `mean_tokens`."""
    return InvalidArgumentError(
        f"budget must be at least {least:.1f} tokens without a structure stage when all {tokens} "
        f"run up to layer {layer}, got {mean_tokens:g}"
    )


def scaled_layer(layer: int, depth: int) -> int:
    """A paper's "after layer `layer` of 32", 1-based, for a model of another depth; 0-based."""
    return min(max(round(layer * depth / 32) - 1, 0), depth - 2)


def check_layer(layer: int, depth: int) -> int:
    """A semantic stage needs a layer behind it to take effect in: 0 .. depth - 2."""
    if not 0 <= layer <= depth - 2:
        raise InvalidArgumentError(
            f"layer must be in 0..{depth - 2} for a model of {depth} decoder layers, got {layer}"
        )
    return layer
