"""One pruned prefill: which tokens are there at every layer, from the first gather to the last."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stsprune.errors import UnsupportedModeError
from stsprune.method.base import InstructionAttention, Method, Plan, VisualTokens
from stsprune.selection.attention import top_indices
from stsprune.selection.grid import cell_centres

from .cache import Group, PrunedCache
from .layout import Bucket, Layout
from .step import group_mask
from .trace import ImageTrace, Stage, Trace


class Prefill:
    """State of the forward pass that brings the images.

    A "column" is a place in the unpruned prompt [B, T]. Rows may keep different counts: they are
    right-aligned, and what stands before them is masked.
    """

    def __init__(
        self,
        method: Method,
        layout: Layout,
        decoder: Any,
        cache: PrunedCache | None,
        compact: bool,
        trace: Trace,
    ) -> None:
        self.method, self.layout, self.decoder = method, layout, decoder
        self.cache, self.compact, self.trace = cache, compact, trace
        depth = len(decoder.layers)
        self.plans: list[Plan] = [method.plan(b.columns.shape[1], depth) for b in layout.buckets]
        self.layers = sorted({layer for plan in self.plans for layer, _ in plan.semantics})
        if self.layers and min(count for b in layout.buckets for count in b.text) < 1:
            raise UnsupportedModeError(
                "a semantic stage needs text after the image: the prompt must not end with it"
            )
        self.keep = layout.valid.clone()
        batch, length = self.keep.shape
        every = [torch.arange(b.columns.shape[1], device=self.keep.device) for b in layout.buckets]
        self.kept: list[Tensor] = [
            grid.expand(len(b.images), -1) for grid, b in zip(every, layout.buckets, strict=True)
        ]
        self.index = torch.arange(length, device=self.keep.device).expand(batch, -1)
        self.place = self.index  # column -> place in the current sequence
        self.group: Group | None = None
        self.changed: dict[str, Any] = {}
        trace.images = [
            ImageTrace(row, grid) for row, grid in zip(layout.image_rows, layout.grids, strict=True)
        ]

    def enter(self, embeds: Tensor, positions: Tensor | None) -> dict[str, Any]:
        """Structure stage; the decoder's new keyword arguments.

        embeds [B, T, Dim]; positions [B, T], [1, T] or None (counted from 0, as transformers does).
        """
        if positions is None:
            positions = torch.arange(embeds.shape[1], device=embeds.device)[None]
        self.positions = positions.expand(embeds.shape[0], -1)
        for number, (bucket, plan) in enumerate(zip(self.layout.buckets, self.plans, strict=True)):
            if plan.structure is None:
                continue
            height, width = bucket.grid
            visual = VisualTokens(
                features=embeds[bucket.rows[:, None], bucket.columns],
                positions=cell_centres(height, width, embeds.device),
                grid=bucket.grid,
                images=bucket.images,
            )
            chosen = self.method.select(visual, plan.structure).sort(-1).values
            self._drop(number, bucket, chosen)
            self._record(bucket, "structure", -1, chosen, None)
        self._regroup(0)
        embeds = embeds.gather(1, self.index[..., None].expand(-1, -1, embeds.shape[2]))
        return {
            "inputs_embeds": embeds,
            "position_ids": self._positions(),
            "attention_mask": self._pad_or_ones(),
        }

    def read(self, layer: int, queries: Tensor, keys: Tensor, scale: float) -> None:
        """Semantic stage: score the tokens that this layer holds and drop the lowest."""
        for number, (bucket, plan) in enumerate(zip(self.layout.buckets, self.plans, strict=True)):
            wanted = dict(plan.semantics).get(layer)
            if wanted is None:
                continue
            kept, rows = self.kept[number], bucket.rows[:, None]
            places = self.place[rows, bucket.columns.gather(1, kept)]
            longest = max(bucket.text)
            scores = self.method.score(
                InstructionAttention(
                    layer=layer,
                    queries=queries[bucket.rows, :, -longest:],
                    counts=bucket.text,
                    keys=keys.transpose(1, 2)[rows, places].transpose(1, 2),
                    kept=kept,
                    scale=scale,
                )
            )
            chosen = kept.gather(1, top_indices(scores, wanted))
            self._drop(number, bucket, chosen)
            self._record(bucket, "semantics", layer, chosen, scores)

    def before_layer(self, layer: int, kwargs: dict[str, Any], hidden: Tensor) -> Any:
        """(hidden, kwargs) for a decoder layer; gathers where the layer before it scored."""
        if layer - 1 in self.layers:
            before = self.place
            self._regroup(layer)
            local = before.gather(1, self.index)
            hidden = hidden.gather(1, local[..., None].expand(-1, -1, hidden.shape[2]))
            positions = self._positions()
            self.changed = {
                "attention_mask": group_mask(
                    self.decoder, hidden, self._pad_or_ones(), self.cache, layer
                ),
                "position_ids": positions,
                "position_embeddings": self.decoder.rotary_emb(hidden, position_ids=positions),
            }
        return hidden, kwargs | self.changed

    def _drop(self, number: int, bucket: Bucket, chosen: Tensor) -> None:
        rows = bucket.rows[:, None]
        self.keep[rows, bucket.columns] = False
        self.keep[rows, bucket.columns.gather(1, chosen)] = True
        self.kept[number] = chosen

    def _record(
        self, bucket: Bucket, name: str, layer: int, kept: Tensor, scores: Tensor | None
    ) -> None:
        for i, image in enumerate(bucket.images):
            stage = Stage(name, layer, kept[i], None if scores is None else scores[i], bucket.grid)
            self.trace.images[image].stages.append(stage)

    def _regroup(self, layer: int) -> None:
        """New right-aligned sequences of what is kept; counts are known without asking the GPU."""
        dropped = [0] * len(self.layout.valid_counts)
        for bucket, kept in zip(self.layout.buckets, self.kept, strict=True):
            for image in bucket.images:
                dropped[self.layout.image_rows[image]] += bucket.columns.shape[1] - kept.shape[1]
        counts = [n - d for n, d in zip(self.layout.valid_counts, dropped, strict=True)]
        width = max(counts)
        # A stable sort moves what is dropped to the front and keeps the order of the rest.
        self.index = self.keep.int().sort(dim=1, stable=True).indices[:, -width:]
        own = torch.arange(width, device=self.index.device).expand_as(self.index)
        self.place = torch.zeros_like(self.keep, dtype=torch.long).scatter(1, self.index, own)
        pad = None if min(counts) == width else self.keep.gather(1, self.index)
        gone = torch.tensor(dropped, device=self.index.device)[:, None]
        self.group = Group(layer, pad, width, gone)
        if self.cache is not None:
            self.cache.groups.append(self.group)

    def _positions(self) -> Tensor:
        positions = self.positions.gather(1, self.index)
        if not self.compact:
            return positions
        gone = (self.layout.visual & ~self.keep).long().cumsum(1)
        return positions - gone.gather(1, self.index)

    def _pad_or_ones(self) -> Tensor:
        assert self.group is not None
        if self.group.pad is not None:
            return self.group.pad
        return torch.ones_like(self.index, dtype=torch.bool)
