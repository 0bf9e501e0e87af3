"""Rotary embeddings of moved positions, as the decoder itself makes them."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor


def rotary(decoder: Any, hidden: Tensor, positions: Tensor, layer: int) -> Any:
    """(cos, sin) for positions [B, T]; some families have a different one per kind of layer."""
    embed = decoder.rotary_emb
    if "layer_type" in inspect.signature(embed.forward).parameters:
        return embed(hidden, positions, decoder.config.layer_types[layer])
    return embed(hidden, positions)
