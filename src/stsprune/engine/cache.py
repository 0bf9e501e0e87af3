"""A KV cache whose layers hold different tokens of one logical sequence.

To the outside it is as long as the unpruned prompt, so that generate() slices inputs and counts
positions as always; inside, every layer holds its kept tokens only. What decoding needs to know
(padding, dropped counts) lives here and follows beam search and batch edits. Where no `prune`
context is active, the cache itself hooks the decoder's layers for the length of one forward pass.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import (
    Cache,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
)

from stsprune.errors import InvalidArgumentError, UnsupportedModeError

from .compat import CACHE, MASKS_PER_LAYER, cache_of, tokens_to_crop
from .masks import Span
from .visual import Visual


@dataclass(frozen=True)
class Group:
    """Consecutive decoder layers that hold the same tokens.

    first: its first layer; span: their columns; dropped: int64 [B, 1], visual tokens that are
    missing from each row.
    """

    first: int
    span: Span
    dropped: Tensor

    @property
    def width(self) -> int:
        """Tokens held per row, padding included."""
        return self.span.columns.shape[1]


@dataclass(frozen=True)
class HeldImages:
    """Images of equal shape and budget whose tokens stay for later questions (reusable=True).

    images and own: their numbers in the batch and their rows, on the host; rows [I]; places [I, K]:
    where in the cached sequence; kept [I, K]: their visual tokens; layers: (decoder layer, tokens
    that stay visible behind it).
    """

    visual: Visual
    images: tuple[int, ...]
    own: tuple[int, ...]
    rows: Tensor
    places: Tensor
    kept: Tensor
    layers: tuple[tuple[int, int], ...]


class PrunedCache(DynamicCache):
    """A DynamicCache after a pruned prefill; see the module.

    groups: ascending in layer; logical: length of the unpruned prompt; compact: whether positions
    were re-indexed; padded: whether the caller's mask has padding, even where none is left;
    later: bool [B, n], mask of the tokens that came after the prompt as far as it is known not to
    be all True; driver: the `prune` context that prepares masks, dead once it is left; held:
    images for later questions; resume: puts back what the model must know to go on outside.
    """

    groups: list[Group]
    logical: int
    compact: bool
    padded: bool
    later: Tensor | None
    driver: weakref.ref[Any]
    decoder: weakref.ref[Any]
    handles: list[Any]
    held: list[HeldImages]
    resume: Callable[[], None] | None

    _LINKS = ("driver", "decoder", "handles", "resume")
    _STATE = (
        "groups",
        "logical",
        "compact",
        "padded",
        "later",
        "driver",
        "decoder",
        "handles",
        "held",
        "resume",
    )

    def __deepcopy__(self, memo: dict[int, Any]) -> PrunedCache:
        """Keys, values and what is known of them; the model is referred to, never copied."""
        fresh = PrunedCache.__new__(PrunedCache)
        memo[id(self)] = fresh
        for name, value in self.__dict__.items():
            fresh.__dict__[name] = value if name in self._LINKS else copy.deepcopy(value, memo)
        fresh.handles = []
        return fresh

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise UnsupportedModeError(
            "a pruned KV cache cannot be pickled or saved: save the prompt (input_ids and what the "
            "processor made of the images) and run it inside `prune` again, or copy.deepcopy the "
            "cache within the process"
        )

    def group_of(self, layer: int) -> int:
        """Index of the group that a decoder layer belongs to."""
        return sum(group.first <= layer for group in self.groups) - 1

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Logical length: as if nothing had been dropped."""
        held = super().get_seq_length(layer_idx)
        if held == 0:
            return 0
        if self.resume is not None and not self.driven:
            self.resume()
        return held + self.logical - self.groups[self.group_of(layer_idx)].width

    def get_query_offset(self, layer_idx: int = 0) -> int:
        """Physical length: the column at which a mask puts the first query."""
        return super().get_seq_length(layer_idx)

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """Physical sizes. Transformers asks for them before the first layer runs."""
        if not self.handles and not self.driven:
            self._drive_once(query_length)
        return super().get_mask_sizes(query_length, layer_idx)

    @property
    def driven(self) -> bool:
        """Whether a `prune` context prepares masks and positions."""
        driver = self.driver()
        return driver is not None and driver.active

    @property
    def grown(self) -> int:
        """Tokens that came after the latest prompt with images."""
        return self.get_query_offset(0) - self.groups[0].width

    def settle(self) -> None:
        """Count the tokens that came after the prompt among the groups' own."""
        extra = self.grown
        if extra:
            self.groups = [replace(g, span=self.span_with(g, extra)) for g in self.groups]
            self.logical += extra
        self.later = None

    def span_with(self, group: Group, extra: int) -> Span:
        """A group's columns and `extra` tokens behind them (already cached or coming)."""
        span = group.span
        batch, device = span.columns.shape[0], span.columns.device
        fresh = torch.arange(self.logical, self.logical + extra, device=device).expand(batch, -1)
        valid = self.valid_with(group, extra)
        veiled = span.veiled
        if veiled is not None:
            veiled = torch.cat([veiled, veiled.new_zeros(batch, extra)], 1)
        return Span(torch.cat([span.columns, fresh], 1), valid, None, veiled)

    def valid_with(self, group: Group, extra: int) -> Tensor | None:
        """Bool [B, W + extra] of a group's columns and those behind, None = all real."""
        if group.span.valid is None and self.later is None:
            return None
        batch, device = group.span.columns.shape[0], group.span.columns.device
        front = group.span.valid
        if front is None:
            front = torch.ones(batch, group.width, dtype=torch.bool, device=device)
        parts = [front] if self.later is None else [front, self.later.to(device)]
        missing = group.width + extra - sum(part.shape[1] for part in parts)
        if missing > 0:
            parts.append(torch.ones(batch, missing, dtype=torch.bool, device=device))
        return torch.cat(parts, 1)

    def split(self, layer: int) -> None:
        """Let a group begin at `layer`."""
        number = self.group_of(layer)
        if self.groups[number].first != layer:
            self.groups.insert(number + 1, replace(self.groups[number], first=layer))

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
        # Transformers then builds the mask from the caller's, which is right without padding only.
        if MASKS_PER_LAYER and query_length == 1 and step.plain and not self.padded:
            return

        def hook(number: int) -> Callable[..., Any]:
            def adjust(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
                mine = cache_of(kwargs) is self
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
        grown = self.grown
        tokens_to_remove = tokens_to_crop(tokens_to_remove, self.logical + grown)
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
        def maybe(rows: Tensor | None) -> Tensor | None:
            return None if rows is None else change(rows)

        self.groups = [
            Group(
                group.first,
                Span(
                    change(group.span.columns),
                    maybe(group.span.valid),
                    None,
                    maybe(group.span.veiled),
                ),
                change(group.dropped),
            )
            for group in self.groups
        ]
        self.later = maybe(self.later)
        self.held = []  # rows have moved: a later question sees what this one saw


def adopt(
    cache: Cache | None,
    driver: weakref.ref[Any],
    decoder: Any,
    compact: bool,
    valid: Tensor | None,
) -> PrunedCache:
    """Turn the caller's DynamicCache into a PrunedCache, in place; an empty one for None.

    In place because generate() and callers hold on to the object they passed. What it already
    holds stays: a pruned conversation or an unpruned one. valid: bool [B, past], the padding of
    the cached tokens, None = all real. Raises UnsupportedModeError for caches whose layers cannot
    hold different lengths.
    """
    cache = DynamicCache(config=decoder.config) if cache is None else cache
    if type(cache) is PrunedCache:
        if cache.get_query_offset() > 0:
            cache.driver = driver
            if valid is not None:
                cache.later = valid[:, cache.logical :]
            cache.settle()
            return cache
        cache.reset()
    plain = type(cache) is DynamicCache and all(
        type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in cache.layers
    )
    if not plain or getattr(cache, "offloading", False):
        kinds = sorted({type(layer).__name__ for layer in getattr(cache, "layers", [])})
        raise UnsupportedModeError(
            f"{CACHE} must be None or a DynamicCache of DynamicLayer (no static, "
            f"quantised or offloaded cache), got {type(cache).__name__} of "
            f"{', '.join(kinds) or 'no layers'}"
        )
    groups, past = [], cache.get_seq_length()
    if past:
        batch, device = cache.layers[0].keys.shape[0], cache.layers[0].keys.device
        columns = torch.arange(past, device=device).expand(batch, -1)
        dropped = torch.zeros(batch, 1, dtype=torch.int64, device=device)
        groups.append(Group(0, Span(columns, valid), dropped))
    cache.__class__ = PrunedCache
    state: dict[str, Any] = {"groups": groups, "logical": past, "compact": compact}
    state |= {"padded": False, "later": None, "driver": driver, "decoder": weakref.ref(decoder)}
    state |= {"handles": [], "held": [], "resume": None}
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
