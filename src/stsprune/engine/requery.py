"""A new question about images that are already cached (`prune(..., reusable=True)`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from stsprune.method.base import InstructionAttention, Method
from stsprune.selection.attention import top_indices

from .cache import PrunedCache
from .masks import Span
from .step import DecodeStep
from .trace import ImageTrace, Stage, Trace


class Requery(DecodeStep):
    """Scores the cached visual tokens for the new text and hides what it does not need.

    Nothing is dropped: the next question chooses afresh among all tokens of the structure stage.
    """

    def __init__(
        self, method: Method, decoder: Any, cache: PrunedCache, hidden: Tensor, trace: Trace
    ) -> None:
        super().__init__(decoder, cache)
        self.method, self.trace, self.new = method, trace, hidden.shape[1]
        self.layers = sorted({layer for held in cache.held for layer, _ in held.layers})
        cache.groups = [replace(group, span=_unveiled(group.span)) for group in cache.groups]
        for layer in self.layers:
            cache.split(layer + 1)
        counts = torch.full((len(cache.groups[0].span.columns),), self.new)
        if cache.later is not None:
            counts = cache.later[:, -self.new :].sum(1).cpu()
        self.counts: list[int] = counts.tolist()
        images: dict[int, ImageTrace] = {}
        for held in cache.held:
            for i, number in enumerate(held.images):
                images[number] = ImageTrace(held.own[i], held.visual)
                images[number].stages.append(
                    Stage("structure", -1, held.kept[i], None, held.visual.grid)
                )
        trace.images = [images[number] for number in sorted(images)]
        self.alive = [held.kept for held in cache.held]
        self.places = [held.places for held in cache.held]

    def read(self, layer: int, queries: Tensor, keys: Tensor, scale: float) -> None:
        """As `Prefill.read`, on cached keys."""
        cache, device = self.cache, keys.device
        veiled = None
        for number, held in enumerate(cache.held):
            wanted = dict(held.layers).get(layer)
            if wanted is None:
                continue
            rows, places = held.rows.to(device), self.places[number].to(device)
            counts = [self.counts[row] for row in held.own]
            scores = self.method.score(
                InstructionAttention(
                    layer=layer,
                    keep=wanted,
                    queries=queries[rows, :, -self.new :],
                    counts=counts,
                    keys=keys.transpose(1, 2)[rows[:, None], places].transpose(1, 2),
                    kept=self.alive[number],
                    scale=scale,
                    text_keys=keys[rows, :, -self.new :],
                )
            )
            best = top_indices(scores, wanted).to(held.kept.device)
            group = cache.groups[cache.group_of(layer + 1)]
            if veiled is None:
                veiled = group.span.veiled
                veiled = (
                    torch.zeros_like(group.span.columns, dtype=torch.bool)
                    if veiled is None
                    else veiled.clone()
                )
            own = held.rows[:, None]
            veiled[own, self.places[number]] = True
            self.places[number] = self.places[number].gather(1, best)
            self.alive[number] = self.alive[number].gather(1, best)
            veiled[own, self.places[number]] = False
            for i, image in enumerate(held.images):
                stage = Stage(
                    "semantics", layer, self.alive[number][i], scores[i], held.visual.grid
                )
                self.trace.images[image].stages.append(stage)
        if veiled is not None:
            cache.groups = [
                replace(group, span=replace(group.span, veiled=veiled))
                if group.first > layer
                else group
                for group in cache.groups
            ]


def _unveiled(span: Span) -> Span:
    return replace(span, veiled=None)
