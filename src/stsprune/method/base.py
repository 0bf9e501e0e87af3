"""What a pruning method is: an optional structure stage before the LLM, semantic stages inside.

A method plans how many tokens each stage keeps and chooses which. It sees tensors only: no model,
no hook, no transformers, so serving can use it too. Add one by writing one file and registering
its class in `method/__init__.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from stsprune.errors import InvalidArgumentError
from stsprune.selection.budget import check_budget


@dataclass(frozen=True)
class Plan:
    """Token counts for an image of N tokens.

    structure: tokens that enter the LLM, None = all; semantics: (decoder layer, tokens) pairs,
    ascending in layer; the drop takes effect from the following layer on.
    """

    structure: int | None = None
    semantics: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class VisualTokens:
    """Images of one size as they enter the LLM.

    features [I, N, Dim]: projector outputs; positions [N, 2]: cell centres (x, y) in [0, 1];
    grid: (H, W), row-major; images: number of each image in its batch, for seeds.
    """

    features: Tensor
    positions: Tensor
    grid: tuple[int, int]
    images: tuple[int, ...]


@dataclass(frozen=True)
class InstructionAttention:
    """A decoder layer's view of the images of one size; all after the rotary embedding.

    layer: 0-based; queries [I, H, T, d] of the text behind the image, right-aligned; counts:
    how many of T are real, per image; keys [I, H_kv, N, d] of the tokens still there; kept
    [I, N]: their grid indices; scale: of the dot product.
    """

    layer: int
    queries: Tensor
    counts: list[int]
    keys: Tensor
    kept: Tensor
    scale: float


@dataclass(frozen=True)
class Method:
    """Base of every method.

    budget: average visual tokens per decoder layer and image; int = tokens, float in (0, 1] = a
    fraction of the image's tokens. Raises InvalidArgumentError or InvalidTypeError when built.
    """

    budget: int | float = field()

    def __post_init__(self) -> None:
        check_budget(self.budget)

    def plan(self, tokens: int, depth: int) -> Plan:
        """Counts for an image of `tokens` in an LLM of `depth` decoder layers."""
        raise NotImplementedError

    def select(self, visual: VisualTokens, keep: int) -> Tensor:
        """Structure stage: indices [I, keep] of the tokens to keep, any order."""
        raise NotImplementedError

    def score(self, attention: InstructionAttention) -> Tensor:
        """Semantic stage: a score [I, N] per token, higher = kept first."""
        raise NotImplementedError


def check_layer(layer: int, depth: int) -> int:
    """A semantic stage needs a layer behind it to take effect in: 0 .. depth - 2."""
    if not 0 <= layer <= depth - 2:
        raise InvalidArgumentError(
            f"layer must be in 0..{depth - 2} for a model of {depth} decoder layers, got {layer}"
        )
    return layer
