"""Which columns of a prompt are still held, and where each of them is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .layout import Layout
from .masks import Span


class TokenTable:
    """The prompt [B, T] of a prefill, from its first token dropped to its last.

    A column is a place in the unpruned prompt. Rows may keep different counts: they are
    right-aligned, and what stands before them is masked.

    kept: per bucket int64 [I, K], the visual tokens that are left; keep and veiled: bool [B, T],
    columns that are held, and those that the text must not see (None = none); index [B, S]: the
    column at every place of the sequence; place [B, T]: the place of every column, which means
    nothing for those that have left; dropped: per row, how many those are, known without asking the
    device.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.keep = layout.valid.clone()
        self.veiled: Tensor | None = None
        batch, length = layout.valid.shape
        device = self.keep.device
        self.kept: list[Tensor] = [
            torch.arange(bucket.visual.tokens, device=device).expand(len(bucket.images), -1)
            for bucket in layout.buckets
        ]
        self.dropped = [0] * batch
        self.index = torch.arange(length, device=device).expand(batch, -1)
        self.place = self.index

    def columns(self, number: int) -> Tensor:
        """int64 [I, K]: the columns of a bucket's visual tokens that are left."""
        return self.layout.buckets[number].columns.gather(1, self.kept[number])

    def places(self, number: int) -> Tensor:
        """int64 [I, K]: where they are in the sequence."""
        return self.place[self.layout.buckets[number].rows[:, None], self.columns(number)]

    def drop(self, number: int, chosen: Tensor) -> None:
        """Only `chosen` [I, K] of a bucket's visual tokens stay, from the next `regroup` on."""
        bucket = self.layout.buckets[number]
        rows = bucket.rows[:, None]
        self.keep[rows, bucket.columns] = False
        self.keep[rows, bucket.columns.gather(1, chosen)] = True
        for image in bucket.images:
            gone = self.kept[number].shape[1] - chosen.shape[1]
            self.dropped[self.layout.image_rows[image]] += gone
        self.kept[number] = chosen

    def veil(self, number: int, chosen: Tensor) -> None:
        """Only `chosen` [I, K] of a bucket's visual tokens stay visible; all are held."""
        if self.veiled is None:
            self.veiled = torch.zeros_like(self.keep)
        rows = self.layout.buckets[number].rows[:, None]
        self.veiled[rows, self.columns(number)] = True
        self.kept[number] = chosen
        self.veiled[rows, self.columns(number)] = False

    def regroup(self) -> None:
        """New right-aligned sequences of what is kept."""
        width = max(self.counts)
        # A stable sort moves what is dropped to the front and keeps the order of the rest.
        order = self.keep.long().sort(dim=1, stable=True).indices
        length = order.shape[1]
        self.index = order[:, length - width :]
        counted = torch.arange(length, device=order.device).expand_as(order)
        self.place = torch.empty_like(order).scatter_(1, order, counted) - (length - width)

    @property
    def counts(self) -> list[int]:
        """Tokens per row."""
        return [n - d for n, d in zip(self.layout.valid_counts, self.dropped, strict=True)]

    def span(self, start: int) -> Span:
        """The sequence, with its columns counted from `start`."""
        even = min(self.counts) == self.index.shape[1]
        valid = None if even else self.keep.gather(1, self.index)
        veiled = None if self.veiled is None else self.veiled.gather(1, self.index)
        return Span(self.index + start, valid, None, veiled)

    def missing(self) -> Tensor:
        """int64 [B, S]: visual tokens that have left before each place of the sequence."""
        gone = (self.layout.visual & ~self.keep).long().cumsum(1)
        return gone.gather(1, self.index)


def taken(part: Any, index: Tensor) -> Any:
    """Rotary embeddings of the tokens at `index`: (cos, sin), one complex tensor, or None."""
    if part is None:
        return None
    if isinstance(part, Tensor):
        return take_rows(part, index)
    return tuple(taken(table, index) for table in part)


def take_rows(table: Tensor, index: Tensor) -> Tensor:
    """table [..., B or 1, T, Dim], index [B, S] -> [..., B, S, Dim]."""
    table = table.expand(*table.shape[:-3], index.shape[0], -1, -1)
    index = index[..., None].expand(*table.shape[:-2], index.shape[1], table.shape[-1])
    return table.gather(-2, index)


def take_tokens(values: Tensor, index: Tensor) -> Tensor:
    """values [B, T, ...], index [B, S] -> [B, S, ...]."""
    rows = torch.arange(len(index), device=values.device)[:, None]
    return values[rows, index.to(values.device)]
