"""Deepstack (arXiv 2406.04334): visual features that the first decoder layers add (Qwen3-VL).

The decoder adds them at the places of all visual tokens. Pruned sequences have other places, so
the engine takes the addition over: same rows, same layers, before anything is gathered.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stsprune.errors import UnsupportedModelError


class Deepstack:
    """visual bool [B, T] marks the visual tokens; embeds: per layer [V, Dim], in their order."""

    def __init__(self, visual: Tensor, embeds: list[Tensor]) -> None:
        self.visual, self.embeds = visual, embeds
        self.rank = visual.flatten().long().cumsum(0).view_as(visual) - 1

    @classmethod
    def taken_from(cls, kwargs: dict[str, Any], depth: int) -> Deepstack | None:
        """Remove it from the decoder's keyword arguments. Raises UnsupportedModelError."""
        embeds = kwargs.get("deepstack_visual_embeds")
        if embeds is None:
            return None
        if len(embeds) >= depth:
            raise UnsupportedModelError(
                f"model must have more decoder layers than deepstack features, got {depth} and "
                f"{len(embeds)}"
            )
        visual = kwargs.pop("visual_pos_masks")
        kwargs["deepstack_visual_embeds"] = None
        kwargs["visual_pos_masks"] = None
        return cls(visual, list(embeds))

    def add(self, layer: int, hidden: Tensor, columns: Tensor) -> Tensor:
        """Hidden states [B, S, Dim] behind `layer`, whose columns [B, S] they are."""
        if layer >= len(self.embeds):
            return hidden
        rank = self.rank.gather(1, columns).clamp_min(0).to(hidden.device)
        marked = self.visual.gather(1, columns).to(hidden.device)
        extra = self.embeds[layer].to(hidden.device, hidden.dtype)[rank]
        return hidden + torch.where(marked[..., None], extra, extra.new_zeros(()))
