"""Layers without keys of their own: they attend to another layer's (Gemma 4 E2B and E4B).

What a stage drops behind the lender is still among its keys. So the mask of a layer that borrows is
over the lender's columns, without those that have left since.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from .masks import Span, patterned_mask, window_of
from .mixers import borrows, kind_of


def lenders(decoder: Any) -> dict[int, int]:
    """Decoder layer without keys of its own -> the layer whose keys it reads."""
    found: dict[int, int] = {}
    latest: dict[str, int] = {}
    if not getattr(decoder.config, "num_kv_shared_layers", 0):
        return found
    for number, layer in enumerate(decoder.layers):
        kind = kind_of(decoder.config, number)
        if borrows(layer.self_attn):
            found[number] = latest[kind]
        else:
            latest[kind] = number
    return found


def lent_keys(config: Any, layer: int, kwargs: dict[str, Any]) -> int:
    """How many keys a layer that borrows is given, by its keyword arguments."""
    keys: Tensor = kwargs["shared_kv_states"][kind_of(config, layer)][0]
    return keys.shape[2]


def borrowed_mask(config: Any, layer: int, hidden: Tensor, own: Span, lent: Span) -> Tensor:
    """A mask [B, 1, Q, K] over the lender's keys.

    hidden [B, Q, Dim]: the queries; own: what the borrowing layer holds, the queries last; lent:
    the columns of the K keys. Raises what `patterned_mask` raises.
    """
    own, lent = own.on(hidden.device), lent.on(hidden.device)
    same = lent.columns[:, :, None] == own.columns[:, None]
    if own.valid is not None:
        same = same & own.valid[:, None]
    held = same.any(-1)
    lent = replace(lent, valid=held if lent.valid is None else held & lent.valid)
    window = window_of(config, layer)
    return patterned_mask(config, hidden, own.last(hidden.shape[1]), lent, window)
