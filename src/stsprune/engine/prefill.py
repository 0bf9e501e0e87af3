"""One pruned prefill: which tokens are there at every layer, from the first gather to the last."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from stsprune.errors import UnsupportedModeError
from stsprune.method.base import (
    EncoderView,
    InstructionAttention,
    Method,
    Plan,
    VisualTokens,
    tokens_per_layer,
)
from stsprune.selection.attention import top_indices
from stsprune.selection.share import share_budget
from stsprune.selection.upload import upload

from .cache import Group, HeldImages, PrunedCache
from .compat import causal_mask
from .costs import selection_flops
from .deepstack import Deepstack
from .gain import BALANCE, expected_share
from .layout import Bucket, Layout, buckets
from .masks import Span, patterned_mask, window_of, windowed
from .rotary import rotary
from .trace import ImageTrace, Stage, Trace


@dataclass(frozen=True)
class Settings:
    """What `prune` was asked for."""

    method: Method
    compact: bool = False
    reusable: bool = False
    budget_total: int | None = None


def plan_images(settings: Settings, layout: Layout, depth: int) -> list[Plan]:
    """A plan per bucket; raises what `Method.plan` raises."""
    plans = [settings.method.plan(bucket.visual.tokens, depth) for bucket in layout.buckets]
    if any(plan.semantics for plan in plans):
        check_text(layout)
    return plans


def check_text(layout: Layout) -> None:
    """A semantic stage reads the text behind the images. Raises UnsupportedModeError."""
    if min(count for bucket in layout.buckets for count in bucket.text) < 1:
        raise UnsupportedModeError(
            "a semantic stage needs text after the image: the prompt must not end with it"
        )


class Prefill:
    """State of the forward pass that brings the images.

    A "column" is a place in the unpruned input [B, T] of this call; what the cache already holds
    stands before it. Rows may keep different counts: they are right-aligned, and what stands
    before them is masked.
    """

    def __init__(
        self,
        settings: Settings,
        layout: Layout,
        plans: list[Plan],
        decoder: Any,
        cache: PrunedCache | None,
        trace: Trace,
        blocks: Tensor | None = None,
        encoder: Callable[[Bucket], EncoderView] | None = None,
    ) -> None:
        self.settings, self.method, self.decoder = settings, settings.method, decoder
        self.layout, self.cache, self.trace = layout, cache, trace
        self.encoder = encoder
        self.plans = plans
        batch, length = layout.valid.shape
        self.past = list(cache.groups) if cache is not None else []
        self.start = cache.logical if cache is not None else 0
        self.groups: list[Group] = []
        self.keep = layout.valid.clone()
        self.veiled = torch.zeros_like(self.keep) if settings.reusable else None
        device = self.keep.device
        self.index = torch.arange(length, device=device).expand(batch, -1)
        self.place = self.index  # column -> place in the current sequence
        self.entry = self.index  # column -> place in the sequence that entered the decoder
        self.blocks = None if blocks is None else blocks[:, -length:].to(device)
        self.ready: dict[Any, dict[str, Any]] = {}
        self.merges: list[Callable[[Tensor], Tensor]] = []
        self.deepstack: Deepstack | None = None
        if settings.reusable and windowed(decoder):
            raise UnsupportedModeError("reusable must be False for a model with sliding windows")
        trace.images = [
            ImageTrace(row, visual)
            for row, visual in zip(layout.image_rows, layout.visuals, strict=True)
        ]
        self._begin()

    def _begin(self) -> None:
        device = self.keep.device
        self.layers = sorted({layer for plan in self.plans for layer, _ in plan.semantics})
        self.kept: list[Tensor] = [
            torch.arange(bucket.visual.tokens, device=device).expand(len(bucket.images), -1)
            for bucket in self.layout.buckets
        ]

    def enter(
        self, embeds: Tensor, positions: Tensor | None, deepstack: Deepstack | None
    ) -> dict[str, Any]:
        """Structure stage; the decoder's new keyword arguments.

        embeds [B, T, Dim]; positions [B, T], [1, T], [axes, B, T] or None (counted on, as
        transformers does).
        """
        self.deepstack = deepstack
        batch, length = embeds.shape[:2]
        if positions is None:
            positions = self.start + torch.arange(length, device=embeds.device)[None]
        self.positions = positions.expand(*positions.shape[:-2], batch, -1)
        if self.settings.budget_total is not None:
            self._share(embeds)
        self.embeds = embeds if "embeddings" in self.method.needs else None
        for number, (bucket, plan) in enumerate(zip(self.layout.buckets, self.plans, strict=True)):
            if plan.structure is None:
                continue
            visual = self._tokens(bucket, embeds)
            chosen = self.method.select(visual, plan.structure).sort(-1).values
            merged = None
            if self.method.merges:
                merged = self.method.merge(visual.features, chosen, visual).to(embeds.dtype)
                columns = bucket.columns.gather(1, chosen)
                embeds = embeds.index_put((bucket.rows[:, None], columns), merged)
            self._drop(number, bucket, chosen)
            self._record(bucket, "structure", -1, chosen, None, merged)
        self._regroup(0)
        self.entry = self.place
        if self.settings.reusable and self.cache is not None:
            self.cache.held = [
                self._held(bucket, kept, plan)
                for bucket, kept, plan in zip(
                    self.layout.buckets, self.kept, self.plans, strict=True
                )
            ]
        positions = self.positions.gather(-1, self.index.expand(*self.positions.shape[:-2], -1, -1))
        if self.settings.compact:
            positions = self._compact(self.groups[0], positions)
        return {
            "inputs_embeds": _rows(embeds, self.index),
            "position_ids": positions,
            "attention_mask": None,
        }

    def expected_share(self, embeds: Tensor) -> float:
        """Expected time of this prefill over the unpruned one, see `gain`; host numbers only."""
        layout, config = self.layout, self.decoder.config
        depth = len(self.decoder.layers)
        unpruned = [[count] * depth for count in layout.valid_counts]
        pruned = [list(row) for row in unpruned]
        selection = 0
        for bucket, plan in zip(layout.buckets, self.plans, strict=True):
            tokens = bucket.visual.tokens
            held = tokens_per_layer(plan, tokens, depth)
            for image in bucket.images:
                row = pruned[layout.image_rows[image]]
                row[:] = [n - tokens + kept for n, kept in zip(row, held, strict=True)]
                if plan.structure is not None:
                    selection += selection_flops(tokens, embeds.shape[-1])
        balance = BALANCE.get(embeds.device.type, BALANCE["cuda"])
        return expected_share(config, unpruned, pruned, selection, embeds.itemsize, balance)

    def _share(self, embeds: Tensor) -> None:
        """Replace budget and plans of every image by its share of the prompt's budget."""
        layout, total, method = self.layout, self.settings.budget_total, self.method
        assert total is not None
        columns: list[Tensor] = [layout.valid] * len(layout.visuals)
        for bucket in layout.buckets:
            for image, own in zip(bucket.images, bucket.columns, strict=True):
                columns[image] = own
        budgets = [0] * len(columns)
        for row in sorted(set(layout.image_rows)):
            mine = [i for i, other in enumerate(layout.image_rows) if other == row]
            shares = share_budget([embeds[row, columns[i]] for i in mine], total)
            for image, share in zip(mine, shares, strict=True):
                budgets[image] = share
        groups = buckets(layout, columns, budgets)
        self.layout = replace(layout, buckets=groups)
        depth = len(self.decoder.layers)
        self.plans = [
            replace(method, budget=budgets[bucket.images[0]]).plan(bucket.visual.tokens, depth)
            for bucket in groups
        ]
        if any(plan.semantics for plan in self.plans):
            check_text(self.layout)
        self._begin()

    def _tokens(self, bucket: Bucket, embeds: Tensor) -> VisualTokens:
        longest = max(bucket.text)
        return VisualTokens(
            features=embeds[bucket.rows[:, None], bucket.columns],
            positions=bucket.visual.positions().to(embeds.device, non_blocking=True),
            grid=bucket.visual.grid,
            images=bucket.images,
            text=embeds[bucket.rows, embeds.shape[1] - longest :],
            text_counts=bucket.text,
            encoder=None if self.encoder is None else self.encoder(bucket),
        )

    def _held(self, bucket: Bucket, kept: Tensor, plan: Plan) -> HeldImages:
        behind = self.past[0].width if self.past else 0
        places = self.place[bucket.rows[:, None], bucket.columns.gather(1, kept)] + behind
        own = tuple(self.layout.image_rows[image] for image in bucket.images)
        return HeldImages(
            bucket.visual, bucket.images, own, bucket.rows, places, kept, plan.semantics
        )

    def read(self, layer: int, queries: Tensor, keys: Tensor, scale: float) -> None:
        """Semantic stage: score the tokens that this layer holds and drop the lowest."""
        offset = keys.shape[2] - self.index.shape[1]  # what the cache held before
        for number, (bucket, plan) in enumerate(zip(self.layout.buckets, self.plans, strict=True)):
            wanted = dict(plan.semantics).get(layer)
            if wanted is None:
                continue
            device = queries.device
            kept, rows = self.kept[number], bucket.rows[:, None]
            columns = bucket.columns.gather(1, kept)
            places = (self.place[rows, columns] + offset).to(device)
            longest = max(bucket.text)
            mine = bucket.rows.to(device)
            attention = InstructionAttention(
                layer=layer,
                keep=wanted,
                queries=queries[mine, :, -longest:],
                counts=bucket.text,
                keys=keys.transpose(1, 2)[mine[:, None], places].transpose(1, 2),
                kept=kept,
                scale=scale,
                text_keys=keys[mine, :, -longest:],
                log_total=functools.partial(
                    self._log_total, layer, queries[mine, :, -longest:], keys[mine], scale, mine
                ),
                positions=bucket.visual.positions().to(device, non_blocking=True),
                features=None if self.embeds is None else self.embeds[rows, columns],
                text=None if self.embeds is None else self.embeds[bucket.rows, -longest:],
            )
            scores = self.method.score(attention)
            best = top_indices(scores, wanted).to(kept.device)
            chosen = kept.gather(1, best)
            if self.veiled is not None:
                self.veiled[rows, columns] = True
                self.veiled[rows, bucket.columns.gather(1, chosen)] = False
            else:
                if self.method.merges:
                    self.merges.append(self._merging(bucket, columns, best, attention))
                self._drop(number, bucket, chosen)
            self.kept[number] = chosen
            self._record(bucket, "semantics", layer, chosen, scores, None)

    def _log_total(
        self, layer: int, queries: Tensor, keys: Tensor, scale: float, rows: Tensor
    ) -> Tensor:
        """See `InstructionAttention.log_total`."""
        group = self._group(layer)
        count, length = queries.shape[2], keys.shape[2]
        k = group.span.columns[:, -length:].to(rows.device)[rows][:, None]
        q = group.span.columns[:, -count:].to(rows.device)[rows][:, :, None]
        allowed = k <= q
        window = window_of(self.decoder.config, layer)
        if window is not None:
            allowed = allowed & (k > q - window)
        if group.span.valid is not None:
            allowed = allowed & group.span.valid[:, -length:].to(rows.device)[rows][:, None]
        images, heads, _, width = queries.shape
        grouped = queries.reshape(images, keys.shape[1], -1, width).float()
        logits = grouped @ keys.float().transpose(-1, -2) * scale
        logits = logits.view(images, heads, count, length)
        return logits.masked_fill(~allowed[:, None], -torch.inf).logsumexp(-1)

    def before_layer(self, layer: int, kwargs: dict[str, Any], hidden: Tensor) -> Any:
        """(hidden, kwargs) for a decoder layer; gathers where the layer before it scored."""
        if self.deepstack is not None and layer > 0:
            hidden = self.deepstack.add(layer - 1, hidden, self.index)
        if layer - 1 in self.layers:
            for merge in self.merges:
                hidden = merge(hidden)
            self.merges.clear()
            before = self.place
            self._regroup(layer)
            # Padding may name a column that has left long ago: any row will do.
            local = before.gather(1, self.index).clamp_min(0).to(hidden.device)
            hidden = _rows(hidden, local)
        window = window_of(self.decoder.config, layer)
        key = (self._group(layer).first, window, hidden.device)
        if key not in self.ready:
            self.ready[key] = self._prepare(layer, window, kwargs, hidden)
        return hidden, kwargs | self.ready[key]

    def _merging(
        self, bucket: Bucket, columns: Tensor, best: Tensor, attention: InstructionAttention
    ) -> Callable[[Tensor], Tensor]:
        """Put into the kept tokens' hidden states what the method makes of the dropped ones."""
        rows = bucket.rows[:, None]
        places = self.place[rows, columns]

        def merge(hidden: Tensor) -> Tensor:
            at, own = places.to(hidden.device), rows.to(hidden.device)
            states = hidden[own, at]
            merged = self.method.merge(states, best.to(hidden.device), attention)
            merged = merged.to(hidden.dtype)
            for i, image in enumerate(bucket.images):
                stages = self.trace.images[image].stages
                stages[-1] = replace(stages[-1], merged=merged[i])
            target = at.gather(1, best.to(hidden.device))
            return hidden.index_put((own, target), merged)

        return merge

    def _prepare(
        self, layer: int, window: int | None, kwargs: dict[str, Any], hidden: Tensor
    ) -> dict[str, Any]:
        group, config = self._group(layer), self.decoder.config
        fresh: dict[str, Any] = {"attention_mask": self._mask(layer, window, group, hidden)}
        positions = kwargs.get("position_ids")
        if self.settings.compact:
            positions = self.positions.gather(-1, self.index)
            positions = self._compact(group, positions).to(hidden.device)
            fresh["position_embeddings"] = rotary(self.decoder, hidden, positions, layer)
        elif self.entry is not self.place:
            local = self.entry.gather(1, self.index).clamp_min(0).to(hidden.device)
            fresh["position_embeddings"] = tuple(
                _rows(part, local) for part in kwargs["position_embeddings"]
            )
            if positions is not None:
                positions = positions.expand(*positions.shape[:-2], len(local), -1)
                positions = positions.gather(-1, local.expand(*positions.shape[:-2], -1, -1))
        # FlashAttention would read gaps in the positions as borders of packed sequences.
        fresh["position_ids"] = None if "flash" in config._attn_implementation else positions
        return fresh

    def _mask(self, layer: int, window: int | None, group: Group, hidden: Tensor) -> Any:
        config, device, new = self.decoder.config, hidden.device, hidden.shape[1]
        span = group.span
        end = self.start + self.layout.valid.shape[1]
        if window is not None and end <= window:
            window = None
        if window is None and self.blocks is None and span.veiled is None:
            valid = None if span.valid is None else span.valid.to(device)
            return causal_mask(config, hidden, valid, self.cache, layer)
        held = group.width
        if self.cache is not None:
            held = self.cache.get_mask_sizes(new, layer)[0]
        cut = slice(group.width - held, None)
        blocks = key_blocks = text = None
        if self.blocks is not None:
            blocks = self.blocks.gather(1, self.index)
            missing = held - new
            key_blocks = torch.nn.functional.pad(blocks, (missing, 0), value=-1).to(device)
            blocks = blocks.to(device)
        if span.veiled is not None:
            starts = upload(self.layout.text_start, device)[:, None]
            text = self.index.to(device) >= starts
        queries = Span(span.columns[:, -new:].to(device), None, blocks)
        keys = Span(
            span.columns[:, cut].to(device),
            None if span.valid is None else span.valid[:, cut].to(device),
            key_blocks,
            None if span.veiled is None else span.veiled[:, cut].to(device),
        )
        return patterned_mask(config, hidden, queries, keys, window, text)

    def _drop(self, number: int, bucket: Bucket, chosen: Tensor) -> None:
        rows = bucket.rows[:, None]
        self.keep[rows, bucket.columns] = False
        self.keep[rows, bucket.columns.gather(1, chosen)] = True
        self.kept[number] = chosen

    def _record(
        self,
        bucket: Bucket,
        name: str,
        layer: int,
        kept: Tensor,
        scores: Tensor | None,
        merged: Tensor | None,
    ) -> None:
        for i, image in enumerate(bucket.images):
            stage = Stage(
                name,
                layer,
                kept[i],
                None if scores is None else scores[i],
                bucket.visual.grid,
                None if merged is None else merged[i],
            )
            self.trace.images[image].stages.append(stage)

    def _regroup(self, layer: int) -> None:
        """New right-aligned sequences of what is kept; counts are known without asking the GPU."""
        layout = self.layout
        dropped = [0] * len(layout.valid_counts)
        if self.veiled is None or layer == 0:
            for bucket, kept in zip(layout.buckets, self.kept, strict=True):
                for image in bucket.images:
                    dropped[layout.image_rows[image]] += bucket.columns.shape[1] - kept.shape[1]
            self.dropped = dropped
        dropped = self.dropped
        counts = [n - d for n, d in zip(layout.valid_counts, dropped, strict=True)]
        width = max(counts)
        # A stable sort moves what is dropped to the front and keeps the order of the rest.
        order = self.keep.long().sort(dim=1, stable=True).indices
        self.index = order[:, order.shape[1] - width :]
        self.place = torch.empty_like(order).scatter_(
            1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
        ) - (order.shape[1] - width)
        valid = None if min(counts) == width else self.keep.gather(1, self.index)
        gone = upload(dropped, self.index.device)[:, None]
        veiled = None
        if self.veiled is not None and layer > 0:
            veiled = self.veiled.gather(1, self.index)
        span = Span(self.index + self.start, valid, None, veiled)
        self.groups = [group for group in self.groups if group.first < layer]
        firsts = [layer, *(group.first for group in self.past if group.first > layer)]
        self.groups += [self._joined(first, span, gone) for first in firsts]
        if self.cache is not None:
            self.cache.groups = self.groups
            self.cache.logical = self.start + layout.valid.shape[1]
            self.cache.padded |= min(layout.valid_counts) < layout.valid.shape[1]

    def _joined(self, first: int, span: Span, gone: Tensor) -> Group:
        """A group that holds what the cache had there and then `span`."""
        if not self.past:
            return Group(first, span, gone)
        past = [group for group in self.past if group.first <= first][-1]
        columns = torch.cat([past.span.columns.to(span.columns), span.columns], 1)
        parts = (past.span, span)
        valid = veiled = None
        if any(part.valid is not None for part in parts):
            valid = torch.cat([_or(p.valid, p.columns, True).to(columns.device) for p in parts], 1)
        if any(part.veiled is not None for part in parts):
            veiled = torch.cat(
                [_or(p.veiled, p.columns, False).to(columns.device) for p in parts], 1
            )
        return Group(first, Span(columns, valid, None, veiled), past.dropped.to(gone) + gone)

    def _group(self, layer: int) -> Group:
        return [group for group in self.groups if group.first <= layer][-1]

    def _compact(self, group: Group, positions: Tensor) -> Tensor:
        """Positions [B, S] of the current sequence, counted over what is kept."""
        gone = (self.layout.visual & ~self.keep).long().cumsum(1)
        moved = positions - gone.gather(1, self.index).to(positions.device)
        if not self.past:
            return moved
        past = [other for other in self.past if other.first <= group.first][-1]
        return moved - past.dropped.to(positions.device)


def _rows(table: Tensor, index: Tensor) -> Tensor:
    """table [..., B or 1, T, Dim], index [B, S] -> [..., B, S, Dim]."""
    table = table.expand(*table.shape[:-3], index.shape[0], -1, -1)
    index = index[..., None].expand(*table.shape[:-2], index.shape[1], table.shape[-1])
    return table.gather(-2, index)


def _or(mask: Tensor | None, like: Tensor, value: bool) -> Tensor:
    return torch.full_like(like, value, dtype=torch.bool) if mask is None else mask
