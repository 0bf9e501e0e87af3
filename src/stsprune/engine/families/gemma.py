"""Gemma 3: pooled squares; sliding and full layers; an image's tokens see each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..layout import Ids
from ..visual import Visual, square
from .base import Family, given, square_side


class Gemma3(Family):
    """Bidirectional attention inside an image where token_type_ids are given, as in transformers.

    Crops (pan and scan) are images of their own.
    """

    name = "Gemma 3"
    classes = ("Gemma3ForConditionalGeneration",)

    def tokens(self, model: Any) -> int | None:
        """See `Family.tokens`."""
        return model.config.mm_tokens_per_image

    def visuals(
        self, model: Any, modality: str, arguments: dict[str, Any], ids: Ids
    ) -> Sequence[Visual]:
        """See `Family.visuals`."""
        features = arguments.get("features")
        count = len(features) if features is not None else given(arguments, "pixel_values")[0]
        return [square(square_side(model.config.mm_tokens_per_image))] * count

    def blocks(self, model: Any, arguments: dict[str, Any]) -> Tensor | None:
        """See `Family.blocks`: runs of token type 1."""
        kinds = arguments.get("token_type_ids")
        if kinds is None:
            return None
        image = kinds == 1
        starts = image & ~torch.nn.functional.pad(image, (1, 0))[:, :-1]
        return torch.where(image, starts.long().cumsum(1) - 1, -1)
