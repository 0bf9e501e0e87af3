"""Gemma 4: images of any size; blocks in sliding layers only; inputs of their own per layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..layout import Ids
from ..visual import Plane, Visual
from .base import Family, given


class Gemma4(Family):
    """An image's tokens see each other where the config says so (31B, 26B-A4B), in sliding layers.

    Videos and audio stay whole.
    """

    name = "Gemma 4"
    classes: ClassVar[tuple[str, ...]] = ("Gemma4ForConditionalGeneration",)
    per_token = ("per_layer_inputs", "per_layer_input")
    block_kinds = frozenset({"sliding_attention"})
    since = "5.19"

    def visuals(
        self, model: Any, modality: str, arguments: dict[str, Any], ids: Ids
    ) -> Sequence[Visual]:
        """See `Family.visuals`: the last patch tells an image's size, padding is at -1."""
        cell = self.pooled(model)
        last = given(arguments, "image_position_ids").amax(1).tolist()
        return [Visual((Plane(((y + 1) // cell, (x + 1) // cell)),)) for x, y in last]

    def pooled(self, model: Any) -> int:
        """Patches per side of a visual token."""
        side: int = model.config.vision_config.pooling_kernel_size
        return side

    def blocks(self, model: Any, arguments: dict[str, Any]) -> Tensor | None:
        """See `Family.blocks`: runs of images and frames."""
        kinds = arguments.get("mm_token_type_ids")
        bidirectional = model.config.get_text_config().use_bidirectional_attention == "vision"
        if kinds is None or not bidirectional:
            return None
        seen = (kinds == 1) | (kinds == 2)
        starts = seen & ~torch.nn.functional.pad(seen, (1, 0))[:, :-1]
        return torch.where(seen, starts.long().cumsum(1) - 1, -1)


class Gemma4Unified(Gemma4):
    """Without an encoder: patches enter the decoder merged; blocks in all layers."""

    name = "Gemma 4 unified"
    classes = ("Gemma4UnifiedForConditionalGeneration",)
    block_kinds = Family.block_kinds

    def pooled(self, model: Any) -> int:
        """See `Gemma4.pooled`: the processor has merged them."""
        return 1
