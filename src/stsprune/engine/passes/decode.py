"""One forward pass over new text behind a pruned prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..cache import PrunedCache, group_of
from ..masks import layer_mask, window_of, windowed
from ..rotary import rotary
from ..stages import Reading


class Decode:
    """Masks and positions per group of layers that hold the same tokens; each prepared once."""

    def __init__(self, decoder: Any, cache: PrunedCache) -> None:
        self.reads: Sequence[int] = ()
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

    def before_layer(
        self, layer: int, hidden: Tensor, kwargs: dict[str, Any]
    ) -> tuple[Tensor, dict[str, Any]]:
        """See `Pass`: the group's mask and positions."""
        window = window_of(self.decoder.config, layer)
        key = (group_of(self.cache.groups, layer), window, hidden.device)
        if key not in self._ready:
            self._ready[key] = self._prepare(layer, hidden, kwargs)
        return hidden, kwargs | self._ready[key]

    def read(self, reading: Reading) -> None:
        """See `Pass`: text alone reads nothing."""

    def _prepare(self, layer: int, hidden: Tensor, kwargs: dict[str, Any]) -> dict[str, Any]:
        cache, config = self.cache, self.decoder.config
        group = cache.group_of(layer)
        extra = cache.get_query_offset(layer) + hidden.shape[1] - group.width
        keys = cache.span_with(group, extra)
        mask = layer_mask(config, hidden, keys, cache.logical + extra, cache, layer)
        fresh = {"attention_mask": mask}
        if cache.compact:
            moved = kwargs["position_ids"] - group.dropped.to(hidden.device)
            fresh["position_ids"] = moved
            if kwargs.get("position_embeddings") is not None:
                fresh["position_embeddings"] = rotary(self.decoder, hidden, moved, layer)
        return fresh
