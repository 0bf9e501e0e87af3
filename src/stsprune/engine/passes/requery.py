"""A new question about images that are already cached (`prune(..., reusable=True)`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from stsprune.method.base import Method

from ..cache import PrunedCache
from ..stages import Candidates, Reading, semantic_stage
from ..trace import ImageTrace, Trace
from .decode import Decode


class Requery(Decode):
    """Scores the cached visual tokens for the new text and hides what it does not need.

    Nothing is dropped: the next question chooses afresh among all tokens of the structure stage.
    """

    def __init__(
        self, method: Method, decoder: Any, cache: PrunedCache, new: int, trace: Trace
    ) -> None:
        """new: tokens of the question's rows, padding included."""
        super().__init__(decoder, cache)
        self.method, self.trace = method, trace
        self.reads = sorted({layer for held in cache.held for layer, _ in held.layers})
        cache.groups = [
            replace(group, span=replace(group.span, veiled=None)) for group in cache.groups
        ]
        for layer in self.reads:
            cache.split(layer + 1)
        counts = torch.full((len(cache.groups[0].span.columns),), new)
        if cache.later is not None:
            counts = cache.later[:, -new:].sum(1).cpu()
        real: list[int] = counts.tolist()
        images = {
            number: ImageTrace(row, held.visual)
            for held in cache.held
            for number, row in zip(held.images, held.own, strict=True)
        }
        trace.images = [images[number] for number in sorted(images)]
        self.visible: list[Candidates] = []
        for held in cache.held:
            trace.record(held.images, held.visual, "structure", -1, held.kept)
            self.visible.append(
                Candidates(
                    held.visual,
                    held.images,
                    held.rows,
                    held.places,
                    held.kept,
                    new,
                    [real[row] for row in held.own],
                )
            )

    def read(self, reading: Reading) -> None:
        """See `Pass`: the semantic stage, on cached keys."""
        cache = self.cache
        behind = cache.group_of(reading.layer + 1).span
        veiled = behind.veiled
        veiled = torch.zeros_like(behind.columns, dtype=torch.bool) if veiled is None else veiled
        veiled = veiled.clone()
        for number, held in enumerate(cache.held):
            keep = dict(held.layers).get(reading.layer)
            if keep is None:
                continue
            seen = self.visible[number]
            choice = semantic_stage(self.method, reading, seen, keep, self.trace)
            places = seen.places.gather(1, choice.best)
            veiled[held.rows[:, None], seen.places] = True
            veiled[held.rows[:, None], places] = False
            self.visible[number] = replace(seen, places=places, kept=choice.kept)
        cache.groups = [
            replace(group, span=replace(group.span, veiled=veiled))
            if group.first > reading.layer
            else group
            for group in cache.groups
        ]
