"""One forward pass over new text behind a pruned prompt."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from .cache import PrunedCache
from .compat import causal_mask
from .masks import Span, patterned_mask, window_of, windowed
from .rotary import rotary


class DecodeStep:
    """Masks and positions per group of layers that hold the same tokens; each prepared once."""

    def __init__(self, decoder: Any, cache: PrunedCache) -> None:
        self.decoder, self.cache = decoder, cache
        self._ready: dict[Any, dict[str, Any]] = {}

    @property
    def plain(self) -> bool:
        """Whether one new token needs nothing from here, at any layer: no mask, own positions."""
        cache, config = self.cache, self.decoder.config
        return (
            cache.later is None
            and not cache.compact
            and config._attn_implementation != "eager"  # its mask has the first layer's length
            and all(g.span.valid is None and g.span.veiled is None for g in cache.groups)
            and not windowed(self.decoder)
        )

    def adjust(self, layer: int, kwargs: dict[str, Any], hidden: Tensor) -> dict[str, Any]:
        """A decoder layer's keyword arguments, with its group's mask and positions."""
        window = window_of(self.decoder.config, layer)
        key = (self.cache.group_of(layer), window, hidden.device)
        if key not in self._ready:
            self._ready[key] = self._prepare(layer, window, kwargs, hidden)
        return kwargs | self._ready[key]

    def _prepare(
        self, layer: int, window: int | None, kwargs: dict[str, Any], hidden: Tensor
    ) -> dict[str, Any]:
        cache = self.cache
        group = cache.groups[cache.group_of(layer)]
        new = hidden.shape[1]
        extra = cache.get_query_offset(layer) + new - group.width
        config = self.decoder.config
        if window is not None and cache.logical + extra > window:
            span = cache.span_with(group, extra)
            held = cache.get_mask_sizes(new, layer)[0]
            keys = _last(span, held)
            queries = _last(span, new)
            mask = patterned_mask(config, hidden, _on(queries, hidden), _on(keys, hidden), window)
        else:
            valid = cache.valid_with(group, extra)
            veiled = cache.span_with(group, extra).veiled if group.span.veiled is not None else None
            if veiled is not None:
                valid = ~veiled if valid is None else valid & ~veiled
            valid = None if valid is None else valid.to(hidden.device)
            mask = causal_mask(config, hidden, valid, cache, layer)
        fresh = {"attention_mask": mask}
        if cache.compact:
            moved = kwargs["position_ids"] - group.dropped.to(hidden.device)
            fresh["position_ids"] = moved
            fresh["position_embeddings"] = rotary(self.decoder, hidden, moved, layer)
        return fresh


def _last(span: Span, count: int) -> Span:
    cut = slice(span.columns.shape[1] - count, None)
    return Span(
        span.columns[:, cut],
        None if span.valid is None else span.valid[:, cut],
        None if span.blocks is None else span.blocks[:, cut],
        None if span.veiled is None else span.veiled[:, cut],
    )


def _on(span: Span, hidden: Tensor) -> Span:
    """A span on the device of the layer that needs it."""
    device = hidden.device
    moved = {
        name: value.to(device)
        for name, value in vars(span).items()
        if isinstance(value, Tensor) and value.device != device
    }
    return replace(span, **moved) if moved else span
