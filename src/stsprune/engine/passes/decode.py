"""One forward pass over new text behind a pruned prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..cache import PrunedCache, group_of
from ..masks import layer_mask, windowed
from ..mixers import attends, kind_of
from ..rotary import rotary
from ..sharing import borrowed_mask, lenders, lent_keys
from ..stages import Reading


class Decode:
    """Masks and positions per group of layers that hold the same tokens; each prepared once."""

    def __init__(self, decoder: Any, cache: PrunedCache) -> None:
        self.reads: Sequence[int] = ()
        self.decoder, self.cache = decoder, cache
        self.lenders = lenders(decoder)
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
            and not self.lenders
        )

    def before_layer(
        self, layer: int, hidden: Tensor, kwargs: dict[str, Any]
    ) -> tuple[Tensor, dict[str, Any]]:
        """See `Pass`: the group's mask and positions."""
        kind = kind_of(self.decoder.config, layer)
        # The length too: layers without keys of their own may be given the last tokens only.
        key = (group_of(self.cache.groups, layer), kind, hidden.device, hidden.shape[1])
        if key not in self._ready:
            self._ready[key] = self._prepare(layer, hidden, kwargs)
        return hidden, kwargs | self._ready[key]

    def read(self, reading: Reading) -> None:
        """See `Pass`: text alone reads nothing."""

    def _prepare(self, layer: int, hidden: Tensor, kwargs: dict[str, Any]) -> dict[str, Any]:
        cache, config = self.cache, self.decoder.config
        if not attends(config, layer):
            return {"attention_mask": None}  # rows of one turn are of equal length: `check_rows`
        group = cache.group_of(layer)
        if layer in self.lenders:
            return {"attention_mask": self._borrowed(layer, hidden, kwargs)}
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

    def _borrowed(self, layer: int, hidden: Tensor, kwargs: dict[str, Any]) -> Tensor:
        """The mask over another layer's keys, to which this pass has added its own."""
        cache, config, lender = self.cache, self.decoder.config, self.lenders[layer]
        held = cache.group_of(lender)
        extra = cache.get_query_offset(lender) - held.width
        lent = cache.span_with(held, extra).last(lent_keys(config, layer, kwargs))
        span = cache.span_with(cache.group_of(layer), extra)
        return borrowed_mask(config, layer, hidden, span, lent)
