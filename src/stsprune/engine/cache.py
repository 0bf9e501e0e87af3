"""A KV cache whose layers hold different tokens of one logical sequence.

To the outside it is as long as the unpruned prompt, so that generate() slices inputs and counts
positions as always; inside, every layer holds its kept tokens only. What decoding needs to know
(padding, dropped counts) lives here and follows beam search and batch edits. Where no `prune`
context is active, the cache itself hooks the decoder's layers for the length of one forward pass.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from stsprune.errors import InvalidArgumentError, UnsupportedModeError


class Group:
    """Consecutive decoder layers that hold the same tokens.

    first: its first layer; pad: bool [B, T_g], False where a row is padded, None if nowhere;
    width: T_g; dropped: int64 [B, 1], visual tokens that are missing from each row.
    """

    def __init__(self, first: int, pad: Tensor | None, width: int, dropped: Tensor) -> None:
        self.first, self.pad, self.width, self.dropped = first, pad, width, dropped


class PrunedCache(DynamicCache):
    """A DynamicCache after a pruned prefill; see the module.

    groups: ascending in layer; logical: length of the unpruned prompt; compact: whether positions
    were re-indexed; later: bool [B, n], mask of the tokens that came after the prompt as far as
    it is known not to be all True; driver: the `prune` context that prepares masks, if any.
    """

    groups: list[Group]
    logical: int
    compact: bool
    later: Tensor | None
    driver: Any
    decoder: weakref.ref[Any]
    handles: list[Any]

    _STATE = ("groups", "logical", "compact", "later", "driver", "decoder", "handles")

    def group_of(self, layer: int) -> int:
        """Index of the group that a decoder layer belongs to."""
        return sum(group.first <= layer for group in self.groups) - 1

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Logical length: as if nothing had been dropped."""
        held = super().get_seq_length(layer_idx)
        if held == 0:
            return 0
        return held + self.logical - self.groups[self.group_of(layer_idx)].width

    def get_query_offset(self, layer_idx: int = 0) -> int:
        """Physical length: the column at which a mask puts the first query."""
        return super().get_seq_length(layer_idx)

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """Physical sizes. Transformers asks for them before the first layer runs."""
        if not self.handles and not getattr(self.driver, "active", False):
            self._drive_once(query_length)
        return super().get_mask_sizes(query_length, layer_idx)

    def _drive_once(self, query_length: int) -> None:
        """Outside `prune`: hook the decoder's layers until the last one has been entered."""
        from .step import DecodeStep

        decoder = self.decoder()
        if decoder is None:
            raise UnsupportedModeError("the model that filled this KV cache no longer exists")
        if query_length > 1 and self.groups[0].dropped.shape[0] > 1:
            raise UnsupportedModeError(
                "a later turn of several tokens in a batch needs its padding mask: run it inside "
                "`with stsprune.prune(model, method):`"
            )
        step, last = DecodeStep(decoder, self), len(decoder.layers) - 1

        def hook(number: int) -> Callable[..., Any]:
            def adjust(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
                mine = kwargs.get("past_key_values") is self
                adjusted = (args, step.adjust(number, kwargs, args[0])) if mine else None
                if number == last:
                    self.release()
                return adjusted

            return adjust

        self.handles = [
            layer.register_forward_pre_hook(hook(number), with_kwargs=True)
            for number, layer in enumerate(decoder.layers)
        ]

    def release(self) -> None:
        """Take this cache's own hooks off the decoder."""
        for handle in self.handles:
            handle.remove()
        self.handles = []

    def crop(self, tokens_to_remove: int) -> None:
        """Remove the last tokens (a negative count), never those of the pruned prompt."""
        grown = self.get_query_offset(0) - self.groups[0].width
        if -tokens_to_remove > grown:
            raise InvalidArgumentError(
                f"crop must remove at most the {grown} tokens that came after the pruned prompt, "
                f"got {-tokens_to_remove}"
            )
        super().crop(tokens_to_remove)
        if self.later is not None:
            self.later = self.later[:, : grown + tokens_to_remove]

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """As in transformers; the rows' facts follow."""
        super().reorder_cache(beam_idx)
        self._change_rows(lambda rows: rows.index_select(0, beam_idx.to(rows.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """As in transformers; the rows' facts follow."""
        super().batch_repeat_interleave(repeats)
        self._change_rows(lambda rows: rows.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: Tensor) -> None:
        """As in transformers; the rows' facts follow."""
        super().batch_select_indices(indices)
        self._change_rows(lambda rows: rows[indices.to(rows.device)])

    def reset(self) -> None:
        """Empty: an ordinary DynamicCache again."""
        super().reset()
        self.release()
        for name in self._STATE:
            del self.__dict__[name]
        self.__class__ = DynamicCache

    def _change_rows(self, change: Callable[[Tensor], Tensor]) -> None:
        for group in self.groups:
            group.dropped = change(group.dropped)
            group.pad = None if group.pad is None else change(group.pad)
        self.later = None if self.later is None else change(self.later)


def adopt(cache: Cache | None, driver: Any, decoder: Any, logical: int, compact: bool) -> Any:
    """Turn the caller's empty DynamicCache into a PrunedCache, in place.

    In place because generate() and callers hold on to the object they passed. Raises
    UnsupportedModeError for caches whose layers cannot hold different lengths.
    """
    cache = DynamicCache(config=decoder.config) if cache is None else cache
    if type(cache) is PrunedCache and cache.get_query_offset() == 0:
        cache.reset()
    plain = type(cache) is DynamicCache and all(type(x) is DynamicLayer for x in cache.layers)
    if not plain or getattr(cache, "offloading", False):
        kinds = sorted({type(layer).__name__ for layer in getattr(cache, "layers", [])})
        raise UnsupportedModeError(
            "past_key_values must be None or a DynamicCache of DynamicLayer (no static, "
            f"quantised, sliding or offloaded cache), got {type(cache).__name__} of "
            f"{', '.join(kinds) or 'no layers'}"
        )
    if cache.get_seq_length() > 0:
        raise UnsupportedModeError(
            "images must come with the first turn: past_key_values must be empty where a prompt "
            f"brings images, got {cache.get_seq_length()} cached tokens"
        )
    cache.__class__ = PrunedCache
    state = {"groups": [], "logical": logical, "compact": compact, "later": None}
    state |= {"driver": driver, "decoder": weakref.ref(decoder), "handles": []}
    cache.__dict__.update(state)
    return cache


def cache_bytes(cache: Any) -> int:
    """Bytes of all keys and values that a cache holds."""
    return sum(
        tensor.nbytes
        for layer in cache.layers
        for tensor in (layer.keys, layer.values)
        if isinstance(tensor, torch.Tensor)
    )
