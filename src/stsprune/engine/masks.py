"""Attention masks over sequences from which tokens are missing.

Full causal layers keep the backend's own fast path: what is left after dropping is again a causal
sequence. Where a mask depends on distance (sliding windows) or on blocks (bidirectional attention
inside an image), it is built from the tokens' columns in the unpruned sequence.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from stsprune.errors import UnsupportedModeError

from .compat import causal_mask
from .mixers import attends, kind_of, scans


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

    def last(self, count: int) -> Span:
        """The last tokens of every row."""
        cut = slice(self.columns.shape[1] - count, None)
        return Span(*(None if part is None else part[:, cut] for part in vars(self).values()))  # type: ignore[arg-type]

    def on(self, device: torch.device) -> Span:
        """The same on the device of the layer that needs it."""
        moved = {
            name: part.to(device)
            for name, part in vars(self).items()
            if part is not None and part.device != device
        }
        return replace(self, **moved) if moved else self

    def then(self, later: Span) -> Span:
        """These tokens and, behind them in every row, `later`'s; blocks are a prompt's own."""
        device = later.columns.device
        parts = (self.on(device), later)
        valid = veiled = None
        if any(part.valid is not None for part in parts):
            valid = torch.cat([_full(part.valid, part.columns, True) for part in parts], 1)
        if any(part.veiled is not None for part in parts):
            veiled = torch.cat([_full(part.veiled, part.columns, False) for part in parts], 1)
        return Span(torch.cat([part.columns for part in parts], 1), valid, None, veiled)


def _full(mask: Tensor | None, like: Tensor, value: bool) -> Tensor:
    return torch.full_like(like, value, dtype=torch.bool) if mask is None else mask


def window_of(config: Any, layer: int) -> int | None:
    """The sliding window of a decoder layer, None = all tokens."""
    kind = kind_of(config, layer)
    return getattr(config, "sliding_window", None) if kind == "sliding_attention" else None


def windowed(decoder: Any) -> bool:
    """Whether any layer has a sliding window, or chunks."""
    layers = range(len(decoder.layers))
    return any(window_of(decoder.config, n) or chunk_of(decoder.config, n) for n in layers)


def chunk_of(config: Any, layer: int) -> int | None:
    """Tokens per chunk of a layer that attends within chunks (Llama 4), None = all tokens."""
    kinds = getattr(config, "layer_types", None)
    return config.attention_chunk_size if kinds and kinds[layer] == "chunked_attention" else None


def layer_mask(
    config: Any,
    hidden: Tensor,
    keys: Span,
    length: int,
    cache: Any,
    layer: int,
    text: Tensor | None = None,
) -> Any:
    """A decoder layer's mask; transformers' own where what it holds is a plain causal sequence.

    hidden [B, Q, Dim]: the queries; keys: all tokens that the layer holds, the Q new ones last;
    length: of the unpruned sequence up to them; text: bool [B, Q], the queries for which veiled
    keys are hidden (None = all of them). A layer that scans takes bool [B, Q], the queries that
    are no padding; one that mixes nothing takes None. Raises what `patterned_mask` raises.
    """
    if scans(config, layer):
        valid = keys.last(hidden.shape[1]).valid
        return None if valid is None else valid.to(hidden.device)
    if not attends(config, layer):
        return None
    window, chunk = window_of(config, layer), chunk_of(config, layer)
    if chunk is not None and length > chunk:
        raise UnsupportedModeError(
            f"prompt and answer must be at most {chunk} tokens long, one chunk of "
            f"{config.model_type}'s attention, got {length}"
        )
    if window is not None and length <= window:
        window = None
    hides_from_all = keys.veiled is None or text is None
    if window is None and keys.blocks is None and hides_from_all:
        valid = keys.valid
        if keys.veiled is not None:
            valid = ~keys.veiled if valid is None else valid & ~keys.veiled
        valid = None if valid is None else valid.to(hidden.device)
        return causal_mask(config, hidden, valid, cache, layer)
    new = hidden.shape[1]
    held = keys.columns.shape[1] if cache is None else cache.get_mask_sizes(new, layer)[0]
    keys = keys.last(held).on(hidden.device)
    return patterned_mask(config, hidden, keys.last(new), keys, window, text)


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
    if window is not None:
        allowed = allowed & (k > q - window)
    # A block lies over whatever else the layer masks, windows too, as in transformers.
    if queries.blocks is not None and keys.blocks is not None:
        blocks = queries.blocks[:, :, None]
        allowed = allowed | ((blocks == keys.blocks[:, None, :]) & (blocks >= 0))
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
