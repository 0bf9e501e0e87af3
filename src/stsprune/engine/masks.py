"""Attention masks over sequences from which tokens are missing.

Full causal layers keep the backend's own fast path: what is left after dropping is again a causal
sequence. Where a mask depends on distance (sliding windows) or on blocks (bidirectional attention
inside an image), it is built from the tokens' columns in the unpruned sequence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stsprune.errors import UnsupportedModeError, UnsupportedModelError


@dataclass(frozen=True)
class Span:
    """Tokens of one sequence: columns int64 [B, S] in the unpruned sequence.

    valid: bool [B, S], None = all; blocks: int64 [B, S], tokens of equal number >= 0 see each
    other in both directions; veiled: bool [B, S], tokens that later text must not see.
    """

    columns: Tensor
    valid: Tensor | None = None
    blocks: Tensor | None = None
    veiled: Tensor | None = None


def window_of(config: Any, layer: int) -> int | None:
    """The sliding window of a decoder layer, None = all tokens.

    Raises UnsupportedModelError for layers that are no softmax attention over a sequence.
    """
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        return window
    kind = kinds[layer]
    if kind not in ("full_attention", "sliding_attention"):
        raise UnsupportedModelError(
            f"model must have full or sliding attention layers, got {kind!r} at layer {layer}"
        )
    return window if kind == "sliding_attention" else None


def windowed(decoder: Any) -> bool:
    """Whether any layer has a sliding window."""
    return any(window_of(decoder.config, layer) for layer in range(len(decoder.layers)))


def patterned_mask(
    config: Any,
    hidden: Tensor,
    queries: Span,
    keys: Span,
    window: int | None,
    text: Tensor | None = None,
) -> Tensor:
    """A 4-D mask [B, 1, Q, K] from columns: causal, windowed, with blocks and veils.

    text: bool [B, Q], the queries for which veiled keys are hidden (None = all of them).
    Raises UnsupportedModeError for backends that take no such mask.
    """
    backend = config._attn_implementation
    if backend not in ("eager", "sdpa"):
        raise UnsupportedModeError(
            f"attn_implementation must be 'sdpa' or 'eager' here, got {backend!r}: sliding windows "
            "shorter than the prompt, bidirectional blocks and reusable=True need a mask of their "
            "own (model.set_attn_implementation('sdpa'))"
        )
    q, k = queries.columns[:, :, None], keys.columns[:, None, :]
    allowed = k <= q
    if queries.blocks is not None and keys.blocks is not None:
        mine = queries.blocks[:, :, None]
        allowed = allowed | ((mine == keys.blocks[:, None, :]) & (mine >= 0))
    if window is not None:
        allowed = allowed & (k > q - window)
    if keys.valid is not None:
        allowed = allowed & keys.valid[:, None, :]
    if keys.veiled is not None:
        hidden_keys = keys.veiled[:, None, :]
        allowed = allowed & ~(hidden_keys if text is None else hidden_keys & text[:, :, None])
    # A padded query must see something: a row of nothing is NaN in some backends.
    allowed = (allowed | (k == q))[:, None]
    if backend == "sdpa":
        return allowed
    lowest = torch.finfo(hidden.dtype).min
    return torch.where(allowed, hidden.new_zeros(()), lowest)
