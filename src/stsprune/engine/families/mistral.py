"""Mistral 3 (Pixtral encoder): one grid of merged patches; row breaks are ordinary tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..layout import Ids
from ..visual import Visual
from .base import Family, given
from .llava import patch_grids


class Mistral3(Family):
    """Images of any size; the break and end tokens of the rows stay."""

    name = "Mistral 3"
    classes = ("Mistral3ForConditionalGeneration",)

    def visuals(
        self, model: Any, modality: str, arguments: dict[str, Any], ids: Ids
    ) -> Sequence[Visual]:
        """See `Family.visuals`."""
        config = model.config
        return patch_grids(
            given(arguments, "image_sizes"), config.vision_config, config.spatial_merge_size
        )
