"""What a pruned prefill is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from stsprune.method.base import EncoderView, Plan

from ..deepstack import Deepstack
from ..layout import Bucket, Layout
from ..mixers import ATTENTION


@dataclass(frozen=True)
class Prompt:
    """A prompt with images [B, T] as it enters the decoder.

    embeds [B, T, Dim]; features [B, T, Dim]: what the stages look at, embeds but for models whose
    images enter empty (see `Deepstack`); positions [B, T], [1, T], [axes, B, T] or None (counted
    on, as transformers does); blocks: int64 [B, T] of bidirectional attention, see `Span`, in
    layers of block_kinds; encoder: the encoder's attention for the images of a bucket; per_token:
    see `Family`; left: image -> int64 [K], its visual tokens that a stage inside the encoder left,
    where there is one.
    """

    layout: Layout
    plans: list[Plan]
    embeds: Tensor
    features: Tensor
    positions: Tensor | None
    blocks: Tensor | None = None
    deepstack: Deepstack | None = None
    encoder: Callable[[Bucket], EncoderView] | None = None
    block_kinds: frozenset[str] = ATTENTION
    per_token: tuple[str, ...] = ()
    left: dict[int, Tensor] = field(default_factory=dict)
