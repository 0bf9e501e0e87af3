"""The two stages as every pass runs them: choosing, and telling the trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stsprune.method.base import EncoderView, InstructionAttention, Method, VisualTokens
from stsprune.selection.attention import top_indices

from .layout import Bucket
from .masks import Span
from .trace import Trace
from .visual import Visual


@dataclass(frozen=True)
class Reading:
    """What a decoder layer's attention was given, after the rotary embedding.

    queries [B, H, T, d]; keys [B, H_kv, T_k, d], the cached ones included.
    """

    layer: int
    queries: Tensor
    keys: Tensor
    scale: float


@dataclass(frozen=True)
class Candidates:
    """Images of one shape whose tokens a layer still holds, and the text that asks for them.

    visual: their shape; images: their numbers in the batch; rows [I]; places [I, N]: among the
    layer's keys; kept [I, N]: which visual tokens they are; text: the last `text` tokens are the
    question, of which counts are real, per image.
    """

    visual: Visual
    images: Sequence[int]
    rows: Tensor
    places: Tensor
    kept: Tensor
    text: int
    counts: list[int]


@dataclass(frozen=True)
class Choice:
    """What a semantic stage keeps: best int64 [I, K], ascending places among the candidates."""

    best: Tensor
    kept: Tensor
    attention: InstructionAttention


def entering(
    bucket: Bucket,
    embeds: Tensor,
    encoder: EncoderView | None = None,
    left: Tensor | None = None,
) -> VisualTokens:
    """The images of a bucket as they enter the LLM; embeds [B, T, Dim].

    left: int64 [I, K], tokens that a stage inside the encoder left; None = all.
    """
    columns = bucket.columns
    positions = bucket.visual.positions().to(embeds.device, non_blocking=True)
    if left is not None:
        columns, positions = columns.gather(1, left), positions[left]
    return VisualTokens(
        features=embeds[bucket.rows[:, None], columns],
        positions=positions,
        grid=bucket.visual.grid,
        images=bucket.images,
        text=embeds[bucket.rows, embeds.shape[1] - max(bucket.text) :],
        text_counts=bucket.text,
        encoder=encoder,
        planes=tuple(plane.grid for plane in bucket.visual.planes),
    )


def structure_stage(
    method: Method,
    tokens: VisualTokens,
    keep: int,
    visual: Visual,
    trace: Trace,
    left: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """(kept int64 [I, K] ascending, what a merging method makes of them [I, K, Dim] or None).

    left: int64 [I, N], which visual tokens `tokens` are, where a stage in the encoder dropped some.
    """
    kept = method.select(tokens, keep).sort(-1).values
    merged = None
    if method.merges:
        merged = method.merge(tokens.features, kept, tokens).to(tokens.features.dtype)
    if left is not None:
        kept = left.gather(1, kept)
    trace.record(tokens.images, visual, "structure", -1, kept, merged=merged)
    return kept, merged


def semantic_stage(
    method: Method, reading: Reading, held: Candidates, keep: int, trace: Trace, **more: Any
) -> Choice:
    """Score the candidates by the question's attention and choose `keep` of each image.

    more: further fields of `InstructionAttention`, for the methods that need them.
    """
    device = reading.keys.device
    rows, places = held.rows.to(device), held.places.to(device)
    attention = InstructionAttention(
        layer=reading.layer,
        keep=keep,
        queries=reading.queries[rows, :, -held.text :],
        counts=held.counts,
        keys=reading.keys.transpose(1, 2)[rows[:, None], places].transpose(1, 2),
        kept=held.kept,
        scale=reading.scale,
        text_keys=reading.keys[rows, :, -held.text :],
        positions=held.visual.positions().to(device, non_blocking=True),
        **more,
    )
    scores = method.score(attention)
    best = top_indices(scores, keep).to(held.kept.device)
    kept = held.kept.gather(1, best)
    trace.record(held.images, held.visual, "semantics", reading.layer, kept, scores)
    return Choice(best, kept, attention)


def log_total(reading: Reading, span: Span, window: int | None, rows: Tensor, text: int) -> Tensor:
    """See `InstructionAttention.log_total`, of the last `text` tokens of `rows` [I].

    span: what the layer holds; window: its sliding window.
    """
    rows = rows.to(reading.keys.device)
    queries, keys = reading.queries[rows, :, -text:], reading.keys[rows]
    span = span.last(keys.shape[2]).on(rows.device)
    k = span.columns[rows][:, None]
    q = span.columns[rows][:, -text:, None]
    allowed = k <= q
    if window is not None:
        allowed = allowed & (k > q - window)
    if span.blocks is not None:
        asking = span.blocks[rows][:, -text:, None]
        allowed = allowed | ((asking == span.blocks[rows][:, None]) & (asking >= 0))
    if span.valid is not None:
        allowed = allowed & span.valid[rows][:, None]
    images, heads, _, width = queries.shape
    grouped = queries.reshape(images, keys.shape[1], -1, width).float()
    logits = grouped @ keys.float().transpose(-1, -2) * reading.scale
    logits = logits.view(images, heads, text, keys.shape[2])
    return logits.masked_fill(~allowed[:, None], -torch.inf).logsumexp(-1)
