"""A KV cache whose layers hold different tokens of one logical sequence.

To the outside it is as long as the unpruned prompt, so that generate() slices inputs and counts
positions as always; inside, every layer holds its kept tokens only. What decoding needs to know
(padding, dropped counts) lives here and follows beam search and batch edits. A cache is data: what
it means for a forward pass is worked out in `passes`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers.cache_utils import (
    Cache,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionLayer,
)

from stsprune.errors import InvalidArgumentError, UnsupportedModeError

from .compat import CACHE, EMPTY_LAYERS, tokens_to_crop
from .masks import Span
from .visual import Visual

#: Layers that can hold different tokens: all of any length, a state, or nothing.
_KINDS = (DynamicLayer, DynamicSlidingWindowLayer, LinearAttentionLayer, *EMPTY_LAYERS)


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

    def then(self, first: int, span: Span, dropped: Tensor) -> Group:
        """From layer `first` on: what is held here, and a later prompt's tokens behind it."""
        return Group(first, self.span.then(span), self.dropped.to(dropped) + dropped)


def group_of(groups: Sequence[Group], layer: int) -> int:
    """Index of the group (ascending in layer) that a decoder layer belongs to."""
    return sum(group.first <= layer for group in groups) - 1


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


class Home(Protocol):
    """The model that filled a cache, for passes that no block prepares (passes/outside.py)."""

    def before_positions(self) -> None:
        """Positions are about to be counted on."""

    def before_masks(self, cache: Any, new: int) -> None:
        """Masks for `new` tokens are about to be made."""


class PrunedCache(DynamicCache):
    """A DynamicCache after a pruned prefill, driven by a `prune` block; see the module.

    groups: ascending in layer; logical: length of the unpruned prompt; compact: whether positions
    were re-indexed; padded: whether the caller's mask has padding, even where none is left;
    later: bool [B, n], mask of the tokens that came after the prompt as far as it is known not to
    be all True; held: images for later questions; home: where to go on outside; running: the hooks
    of a forward pass outside, None = there is none.
    """

    groups: list[Group]
    logical: int
    compact: bool
    padded: bool
    later: Tensor | None
    held: list[HeldImages]
    home: Home | None
    running: Any

    _STATE = ("groups", "logical", "compact", "padded", "later", "held", "home", "running")

    def __deepcopy__(self, memo: dict[int, Any]) -> FreeCache:
        """Keys, values and what is known of them; no block drives the copy until one meets it."""
        fresh = FreeCache.__new__(FreeCache)
        memo[id(self)] = fresh
        for name, value in self.__dict__.items():
            shared = name in ("home", "running")  # refers to the model, which is never copied
            fresh.__dict__[name] = value if shared else copy.deepcopy(value, memo)
        fresh.running = None
        return fresh

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise UnsupportedModeError(
            "a pruned KV cache cannot be pickled or saved: save the prompt (input_ids and what the "
            "processor made of the images) and run it inside `prune` again, or copy.deepcopy the "
            "cache within the process"
        )

    def group_of(self, layer: int) -> Group:
        """The group that a decoder layer belongs to."""
        return self.groups[group_of(self.groups, layer)]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Logical length: as if nothing had been dropped."""
        held = super().get_seq_length(layer_idx)
        return held + self.logical - self.group_of(layer_idx).width if held else 0

    def get_query_offset(self, layer_idx: int = 0) -> int:
        """Physical length: the column at which a mask puts the first query."""
        return super().get_seq_length(layer_idx)

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
        batch, device = group.span.columns.shape[0], group.span.columns.device
        fresh = torch.arange(self.logical, self.logical + extra, device=device).expand(batch, -1)
        valid = None
        if self.later is not None:
            valid = self.later[:, :extra].to(device)
            missing = extra - valid.shape[1]
            valid = torch.cat([valid, valid.new_ones(batch, missing)], 1) if missing else valid
        return group.span.then(Span(fresh, valid))

    def split(self, layer: int) -> None:
        """Let a group begin at `layer`."""
        number = group_of(self.groups, layer)
        if self.groups[number].first != layer:
            self.groups.insert(number + 1, replace(self.groups[number], first=layer))

    def crop(self, tokens_to_remove: int) -> None:
        """Remove the last tokens (a negative count), never those of the pruned prompt."""
        grown = self.grown
        tokens_to_remove = tokens_to_crop(tokens_to_remove, self.logical + grown)
        if any(isinstance(layer, LinearAttentionLayer) for layer in self.layers):
            raise UnsupportedModeError(
                "a pruned cache of a model whose layers scan cannot be cropped: a state cannot "
                "un-see a token (copy.deepcopy the cache before what is to be undone)"
            )
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
        if self.running is not None:
            self.running.stop()
        for name in self._STATE:
            del self.__dict__[name]
        self.__class__ = DynamicCache

    def _change_rows(self, change: Callable[[Tensor], Tensor]) -> None:
        def changed(span: Span) -> Span:
            parts = {name: part for name, part in vars(span).items() if part is not None}
            return Span(**{name: change(part) for name, part in parts.items()})

        self.groups = [
            Group(group.first, changed(group.span), change(group.dropped)) for group in self.groups
        ]
        self.later = None if self.later is None else change(self.later)
        self.held = []  # rows have moved: a later question sees what this one saw


class FreeCache(PrunedCache):
    """A pruned cache that no block drives: its block was left, or it is a copy.

    Of a forward pass outside a block nothing reaches us but the two things that transformers asks a
    cache before the first layer runs. Here, and only here, they are passed on: to the cache's home.
    """

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """As in `PrunedCache`; asked before positions are counted on."""
        length = super().get_seq_length(layer_idx)
        if length and self.home is not None:
            self.home.before_positions()
        return length

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """Physical sizes; asked before the first layer runs."""
        if self.running is None and self.home is not None:
            self.home.before_masks(self, query_length)
        return super().get_mask_sizes(query_length, layer_idx)


def drive(cache: PrunedCache) -> None:
    """Let a block prepare the cache's forward passes from here on."""
    if cache.running is not None:  # of a pass outside that was broken off
        cache.running.stop()
        cache.running = None
    cache.__class__ = PrunedCache


def release(cache: Any) -> None:
    """Let a cache find its own way: the block that drove it is left."""
    if type(cache) is PrunedCache:
        cache.__class__ = FreeCache


def adopt(cache: Cache | None, config: Any, compact: bool, valid: Tensor | None) -> PrunedCache:
    """Turn the caller's DynamicCache into a PrunedCache, in place; an empty one for None.

    In place because generate() and callers hold on to the object they passed. What it already
    holds stays: a pruned conversation or an unpruned one. config: the decoder's; valid: bool [B,
    past], the padding of the cached tokens, None = all real. Raises UnsupportedModeError for caches
    whose layers cannot hold different lengths.
    """
    cache = DynamicCache(config=config) if cache is None else cache
    if isinstance(cache, PrunedCache):
        if cache.get_query_offset() > 0:
            drive(cache)
            if valid is not None:
                cache.later = valid[:, cache.logical :]
            cache.settle()
            return cache
        cache.reset()
    plain = type(cache) is DynamicCache and all(type(layer) in _KINDS for layer in cache.layers)
    if not plain or getattr(cache, "offloading", False):
        kinds = sorted({type(layer).__name__ for layer in getattr(cache, "layers", [])})
        raise UnsupportedModeError(
            f"{CACHE} must be None or a DynamicCache of dynamic layers (no static, "
            f"quantised or offloaded cache), got {type(cache).__name__} of "
            f"{', '.join(kinds) or 'no layers'}"
        )
    groups, past = [], cache.get_seq_length()
    if past:
        keys = next(layer.keys for layer in cache.layers if has_keys(layer))
        batch, device = keys.shape[0], keys.device
        columns = torch.arange(past, device=device).expand(batch, -1)
        dropped = torch.zeros(batch, 1, dtype=torch.int64, device=device)
        groups.append(Group(0, Span(columns, valid), dropped))
    cache.__class__ = PrunedCache
    state: dict[str, Any] = {"groups": groups, "logical": past, "compact": compact}
    state |= {"padded": False, "later": None, "held": [], "home": None, "running": None}
    cache.__dict__.update(state)
    return cache


def has_keys(layer: Any) -> bool:
    """Whether a cache layer holds keys: layers that scan keep a state, others nothing at all."""
    return isinstance(getattr(layer, "keys", None), Tensor)


def cache_bytes(cache: Any) -> int:
    """Bytes of all keys and values that a cache holds, without the states of layers that scan."""
    held = [layer for layer in cache.layers if has_keys(layer)]
    return sum(tensor.nbytes for layer in held for tensor in (layer.keys, layer.values))
