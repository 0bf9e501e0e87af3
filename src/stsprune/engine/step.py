"""Masks and rotary positions of one forward pass, per group of layers that hold the same tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .cache import PrunedCache


def group_mask(
    decoder: Any, hidden: Tensor, pad: Tensor | None, cache: PrunedCache | None, layer: int
) -> Any:
    """The mask that `layer` needs, made by transformers' own function for the model's backend."""
    from transformers.masking_utils import create_causal_mask

    if pad is None and cache is None:
        pad = hidden.new_ones(hidden.shape[:2], dtype=torch.bool)
    return create_causal_mask(
        config=decoder.config,
        inputs_embeds=hidden,
        attention_mask=pad,
        past_key_values=cache,
        position_ids=None,
        layer_idx=layer,
    )


class DecodeStep:
    """One pass over new tokens behind a pruned prompt; every group is prepared once."""

    def __init__(self, decoder: Any, cache: PrunedCache) -> None:
        self.decoder, self.cache = decoder, cache
        self._ready: dict[int, dict[str, Any]] = {}

    def adjust(self, layer: int, kwargs: dict[str, Any], hidden: Tensor) -> dict[str, Any]:
        """A decoder layer's keyword arguments, with its group's mask and positions."""
        number = self.cache.group_of(layer)
        if number not in self._ready:
            self._ready[number] = self._prepare(number, kwargs, hidden)
        return kwargs | self._ready[number]

    def _prepare(self, number: int, kwargs: dict[str, Any], hidden: Tensor) -> dict[str, Any]:
        cache, group = self.cache, self.cache.groups[number]
        pad = self._columns(number, hidden)
        fresh = {"attention_mask": group_mask(self.decoder, hidden, pad, cache, group.first)}
        if cache.compact:
            moved = kwargs["position_ids"] - group.dropped.to(hidden.device)
            fresh["position_ids"] = moved
            fresh["position_embeddings"] = self.decoder.rotary_emb(hidden, position_ids=moved)
        return fresh

    def _columns(self, number: int, hidden: Tensor) -> Tensor | None:
        """2-D mask over the group's columns, prompt, later turns and these tokens; None = all."""
        group, later = self.cache.groups[number], self.cache.later
        if group.pad is None and later is None:
            return None
        batch, device = hidden.shape[0], hidden.device
        front = group.pad
        if front is None:
            front = torch.ones(batch, group.width, dtype=torch.bool, device=device)
        parts = [front.to(device)] + ([] if later is None else [later.to(device)])
        width = self.cache.get_query_offset(group.first) + hidden.shape[1]
        missing = width - sum(part.shape[1] for part in parts)
        parts.append(torch.ones(batch, missing, dtype=torch.bool, device=device))
        return torch.cat(parts, 1)
