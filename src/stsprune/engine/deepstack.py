"""Deepstack (arXiv 2406.04334): visual features that some decoder layers add (Qwen3-VL).

The decoder adds them at the places of all visual tokens. Pruned sequences have other places, so
the engine takes the addition over: same rows, same layers, before anything is gathered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from stsprune.errors import UnsupportedModelError


class Deepstack:
    """visual bool [B, T] marks the visual tokens; before: layer -> [V, Dim] in their order, what is
    added to the layer's input; empty: whether nothing else of an image enters the decoder.
    """

    def __init__(self, visual: Tensor, before: Mapping[int, Tensor], empty: bool) -> None:
        self.visual, self.before, self.empty = visual, before, empty
        self.rank = visual.flatten().long().cumsum(0).view_as(visual) - 1

    @classmethod
    def taken_from(cls, kwargs: dict[str, Any], depth: int) -> Deepstack | None:
        """Remove it from the decoder's keyword arguments. Raises UnsupportedModelError."""
        if kwargs.get("deepstack_features") is not None:  # Granite 4 Vision: of any layers
            before, mask = kwargs["deepstack_features"], kwargs["vision_mask"]
            kwargs["deepstack_features"] = kwargs["vision_mask"] = None
            return cls(mask[..., 0], before, empty=True)
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
        # The decoder adds them behind its first layers.
        return cls(visual, dict(enumerate(embeds, 1)), empty=False)

    def seen(self, embeds: Tensor) -> Tensor:
        """What tells the images' tokens apart at the decoder's entry: [B, T, Dim], as `embeds`."""
        if not self.empty:
            return embeds
        columns = torch.arange(embeds.shape[1], device=embeds.device).expand(len(embeds), -1)
        return self.add(min(self.before), embeds, columns)

    def add(self, layer: int, hidden: Tensor, columns: Tensor) -> Tensor:
        """The input [B, S, Dim] of `layer`, whose columns [B, S] were gathered behind the last."""
        features = self.before.get(layer)
        if features is None:
            return hidden
        rank = self.rank.gather(1, columns).clamp_min(0).to(hidden.device)
        marked = self.visual.gather(1, columns).to(hidden.device)
        extra = features.to(hidden.device, hidden.dtype)[rank]
        return hidden + torch.where(marked[..., None], extra, extra.new_zeros(()))
