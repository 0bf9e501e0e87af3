"""One pruned prefill: which tokens are there at every layer, from the first gather to the last."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from stsprune.errors import UnsupportedModeError
from stsprune.method.base import InstructionAttention, Plan
from stsprune.selection.upload import upload

from ..cache import Group, HeldImages, PrunedCache, group_of
from ..layout import Bucket
from ..masks import Span, layer_mask, window_of, windowed
from ..mixers import attends, kind_of
from ..plans import Settings
from ..rotary import rotary
from ..sharing import borrowed_mask, lenders, lent_keys
from ..stages import Candidates, Reading, entering, log_total, semantic_stage, structure_stage
from ..tokens import TokenTable, take_rows, take_tokens, taken
from ..trace import ImageTrace, Trace
from .prompt import Prompt


class Prefill:
    """The pass that brings the images. What the cache already holds stands before its columns."""

    def __init__(
        self,
        settings: Settings,
        prompt: Prompt,
        decoder: Any,
        cache: PrunedCache | None,
        trace: Trace,
    ) -> None:
        if settings.reusable and windowed(decoder):
            raise UnsupportedModeError("reusable must be False for a model with sliding windows")
        self.settings, self.method, self.prompt = settings, settings.method, prompt
        self.decoder, self.cache, self.trace = decoder, cache, trace
        layout, embeds = prompt.layout, prompt.embeds
        self.layout = layout
        self.reads: Sequence[int] = sorted(
            {layer for plan in prompt.plans for layer, _ in plan.semantics}
        )
        self.past = list(cache.groups) if cache is not None else []
        self.start = cache.logical if cache is not None else 0
        self.end = self.start + layout.valid.shape[1]
        self.groups: list[Group] = []
        self.lenders = lenders(decoder)
        self.table = TokenTable(layout)
        self.entry = self.table.place  # column -> place in the sequence that entered the decoder
        positions = prompt.positions
        if positions is None:
            positions = torch.arange(self.start, self.end, device=embeds.device)[None]
        self.positions = positions.expand(*positions.shape[:-2], len(embeds), -1)
        self.blocks = None
        if prompt.blocks is not None:
            self.blocks = prompt.blocks[:, -embeds.shape[1] :].to(layout.valid.device)
        self._ready: dict[Any, dict[str, Any]] = {}
        self._merges: list[Callable[[Tensor], Tensor]] = []
        trace.images = [
            ImageTrace(row, visual)
            for row, visual in zip(layout.image_rows, layout.visuals, strict=True)
        ]
        for bucket in layout.buckets:
            for image in bucket.images:
                trace.images[image].budget = bucket.budget

    def enter(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The structure stage; what changes in the decoder's keyword arguments."""
        embeds = self.prompt.embeds
        for number, (bucket, plan) in enumerate(self._buckets()):
            left = self._left(number, bucket, plan)
            if plan.structure is None:
                continue
            view = None if self.prompt.encoder is None else self.prompt.encoder(bucket)
            tokens = entering(bucket, self.prompt.features, view, left)
            kept, merged = structure_stage(
                self.method, tokens, plan.structure, bucket.visual, self.trace, left
            )
            self.table.drop(number, kept)
            if merged is not None:
                self._check_merged(kwargs)
                places = (bucket.rows[:, None], self.table.columns(number))
                embeds = embeds.index_put(places, merged)
        self._regroup(0)
        self.entry = self.table.place
        if self.settings.reusable and self.cache is not None:
            self.cache.held = [self._held(number) for number in range(len(self.layout.buckets))]
        index = self.table.index
        positions = self.positions.gather(-1, index.expand(*self.positions.shape[:-2], -1, -1))
        if self.settings.compact:
            positions = self._compact(self.groups[0], positions)
        return {
            "inputs_embeds": take_rows(embeds, index),
            "position_ids": positions,
            "attention_mask": None,
            **self._per_token(kwargs, index),
        }

    def before_layer(
        self, layer: int, hidden: Tensor, kwargs: dict[str, Any]
    ) -> tuple[Tensor, dict[str, Any]]:
        """See `Pass`; gathers where the layer before it scored."""
        if self.prompt.deepstack is not None:
            hidden = self.prompt.deepstack.add(layer, hidden, self.table.index)
        if layer - 1 in self.reads:
            for merge in self._merges:
                hidden = merge(hidden)
            self._merges.clear()
            before = self.table.place
            self._regroup(layer)
            hidden = take_rows(hidden, self._local(before, hidden))
        kind = kind_of(self.decoder.config, layer)
        key = (self._group(layer).first, kind, hidden.device, self._apart(layer))
        if key not in self._ready:
            self._ready[key] = self._prepare(layer, hidden, kwargs)
        kwargs = kwargs | self._ready[key]
        if self.prompt.per_token and self.entry is not self.table.place:
            kwargs |= self._per_token(kwargs, self._local(self.entry, hidden))
        return hidden, kwargs

    def read(self, reading: Reading) -> None:
        """See `Pass`: the semantic stage, which drops from the next layer on."""
        cached = reading.keys.shape[2] - self.table.index.shape[1]
        embeds = self.prompt.features if "embeddings" in self.method.needs else None
        for number, (bucket, plan) in enumerate(self._buckets()):
            keep = dict(plan.semantics).get(reading.layer)
            if keep is None:
                continue
            text, places = max(bucket.text), self.table.places(number)
            columns = self.table.columns(number)
            choice = semantic_stage(
                self.method,
                reading,
                Candidates(
                    bucket.visual,
                    bucket.images,
                    bucket.rows,
                    places + cached,
                    self.table.kept[number],
                    text,
                    bucket.text,
                ),
                keep,
                self.trace,
                log_total=functools.partial(self._log_total, reading, bucket.rows, text),
                features=None if embeds is None else embeds[bucket.rows[:, None], columns],
                text=None if embeds is None else embeds[bucket.rows, -text:],
            )
            if self.settings.reusable:
                self.table.veil(number, choice.kept)
                continue
            if self.method.merges:
                merge = functools.partial(
                    self._merge, bucket, places, choice.best, choice.attention
                )
                self._merges.append(merge)
            self.table.drop(number, choice.kept)

    def _buckets(self) -> list[tuple[Bucket, Plan]]:
        return list(zip(self.layout.buckets, self.prompt.plans, strict=True))

    def _check_merged(self, kwargs: Mapping[str, Any]) -> None:
        """What later layers add is a token's own. Raises UnsupportedModeError."""
        what = "inputs per layer: a merged token has none"
        if kwargs.get("per_layer_inputs") is None:
            if self.prompt.deepstack is None or not self.prompt.deepstack.empty:
                return
            what = "images that later layers add: a merged token is not among them"
        raise UnsupportedModeError(
            f"method must not merge before the first layer, as {type(self.method).__name__} does, "
            f"for a model with {what}"
        )

    def _left(self, number: int, bucket: Bucket, plan: Plan) -> Tensor | None:
        """int64 [I, K]: what a stage inside the encoder left of a bucket's tokens; they stay.

        Raises InvalidArgumentError where the next stage keeps more.
        """
        stage, tokens = self.method.encoder, bucket.visual.tokens
        if stage is None or not self.prompt.left:
            return None
        left = torch.stack([self.prompt.left[image] for image in bucket.images])
        if left.shape[1] == tokens:
            return None
        stage.check(left.shape[1], tokens, tokens if plan.structure is None else plan.structure)
        left = left.to(bucket.columns.device)
        self.trace.record(bucket.images, bucket.visual, "encoder", -1, left)
        self.table.drop(number, left)
        return left

    def _held(self, number: int) -> HeldImages:
        bucket, plan = self._buckets()[number]
        behind = self.past[0].width if self.past else 0
        return HeldImages(
            bucket.visual,
            bucket.images,
            tuple(self.layout.image_rows[image] for image in bucket.images),
            bucket.rows,
            self.table.places(number) + behind,
            self.table.kept[number],
            plan.semantics,
        )

    def _log_total(self, reading: Reading, rows: Tensor, text: int) -> Tensor:
        """See `InstructionAttention.log_total`."""
        window = window_of(self.decoder.config, reading.layer)
        span = self._blocked(reading.layer, self._group(reading.layer).span)
        return log_total(reading, span, window, rows, text)

    def _merge(
        self,
        bucket: Bucket,
        places: Tensor,
        best: Tensor,
        attention: InstructionAttention,
        hidden: Tensor,
    ) -> Tensor:
        """Put into the kept tokens' hidden states what the method makes of the dropped ones."""
        device = hidden.device
        rows, places, best = bucket.rows[:, None].to(device), places.to(device), best.to(device)
        merged = self.method.merge(hidden[rows, places], best, attention).to(hidden.dtype)
        self.trace.record_merged(bucket.images, merged)
        return hidden.index_put((rows, places.gather(1, best)), merged)

    def _prepare(self, layer: int, hidden: Tensor, kwargs: dict[str, Any]) -> dict[str, Any]:
        group, config = self._group(layer), self.decoder.config
        fresh: dict[str, Any] = {}
        if self._apart(layer):
            lent = self._blocked(layer, self._group(self.lenders[layer]).span)
            lent = lent.last(lent_keys(config, layer, kwargs))
            span = self._blocked(layer, group.span)
            fresh["attention_mask"] = borrowed_mask(config, layer, hidden, span, lent)
        else:
            fresh["attention_mask"] = self._mask(layer, group, hidden)
        positions = kwargs.get("position_ids")
        if not attends(config, layer):
            return fresh  # a scan counts its tokens by itself
        if self.settings.compact:
            positions = self.positions.gather(-1, self.table.index)
            positions = self._compact(group, positions).to(hidden.device)
            if kwargs.get("position_embeddings") is not None:
                fresh["position_embeddings"] = rotary(self.decoder, hidden, positions, layer)
        elif self.entry is not self.table.place:
            local = self._local(self.entry, hidden)
            fresh["position_embeddings"] = taken(kwargs.get("position_embeddings"), local)
            if positions is not None:
                positions = positions.expand(*positions.shape[:-2], len(local), -1)
                positions = positions.gather(-1, local.expand(*positions.shape[:-2], -1, -1))
        # FlashAttention would read gaps in the positions as borders of packed sequences.
        fresh["position_ids"] = None if "flash" in config._attn_implementation else positions
        return fresh

    def _mask(self, layer: int, group: Group, hidden: Tensor) -> Any:
        index, span, text = self.table.index, self._blocked(layer, group.span), None
        if span.veiled is not None:
            starts = upload(self.layout.text_start, hidden.device)[:, None]
            text = index.to(hidden.device) >= starts
        config = self.decoder.config
        return layer_mask(config, hidden, span, self.end, self.cache, layer, text)

    def _blocked(self, layer: int, span: Span) -> Span:
        """The span with the prompt's blocks, in layers where they hold."""
        holds = kind_of(self.decoder.config, layer) in self.prompt.block_kinds
        if self.blocks is None or not holds:
            return span
        local = span.columns - self.start
        blocks = self.blocks.gather(1, local.clamp_min(0))
        return replace(span, blocks=torch.where(local < 0, -1, blocks))

    def _apart(self, layer: int) -> bool:
        """Whether a layer reads the keys of one that held more."""
        lender = self.lenders.get(layer)
        return lender is not None and self._group(lender) is not self._group(layer)

    def _per_token(self, kwargs: Mapping[str, Any], index: Tensor) -> dict[str, Any]:
        """The family's further arguments that have an entry per token, at `index` [B, S]."""
        given = {name: kwargs.get(name) for name in self.prompt.per_token}
        return {n: take_tokens(value, index) for n, value in given.items() if value is not None}

    def _local(self, places: Tensor, hidden: Tensor) -> Tensor:
        """Where the sequence's columns were when `places` [B, T] held; any row for padding."""
        return places.gather(1, self.table.index).clamp_min(0).to(hidden.device)

    def _regroup(self, layer: int) -> None:
        """From this layer on, the sequences hold what the table keeps."""
        table, layout = self.table, self.layout
        table.regroup()
        span = table.span(self.start)
        dropped = upload(table.dropped, span.columns.device)[:, None]
        self.groups = [group for group in self.groups if group.first < layer]
        if not self.past:
            self.groups.append(Group(layer, span, dropped))
        else:
            firsts = [layer, *(group.first for group in self.past if group.first > layer)]
            for first in firsts:
                cached = self.past[group_of(self.past, first)]
                self.groups.append(cached.then(first, span, dropped))
        if self.cache is not None:
            self.cache.groups = self.groups
            self.cache.logical = self.end
            self.cache.padded |= min(layout.valid_counts) < layout.valid.shape[1]

    def _group(self, layer: int) -> Group:
        return self.groups[group_of(self.groups, layer)]

    def _compact(self, group: Group, positions: Tensor) -> Tensor:
        """Positions [B, S] of the current sequence, counted over what is kept."""
        moved = positions - self.table.missing().to(positions.device)
        if not self.past:
            return moved
        past = self.past[group_of(self.past, group.first)]
        return moved - past.dropped.to(positions.device)
