"""Families whose decoders have layers that scan between the ones that attend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..layout import Ids
from ..visual import Plane, Visual
from .base import Family, given
from .qwen import Qwen3VL


class Qwen35(Qwen3VL):
    """Gated DeltaNet in three of four layers; also the class of Qwen3.6."""

    name = "Qwen3.5"
    classes = ("Qwen3_5ForConditionalGeneration",)


class Qwen35Moe(Qwen35):
    """As Qwen3.5, with experts."""

    name = "Qwen3.5-MoE"
    classes = ("Qwen3_5MoeForConditionalGeneration",)


class Lfm2VL(Family):
    """Short convolutions; tiles and a thumbnail are images of their own, any size each."""

    name = "LFM2-VL"
    classes = ("Lfm2VlForConditionalGeneration",)

    def visuals(
        self, model: Any, modality: str, arguments: dict[str, Any], ids: Ids
    ) -> Sequence[Visual]:
        """See `Family.visuals`."""
        factor = model.config.downsample_factor
        return [
            Visual((Plane((height // factor, width // factor)),))
            for height, width in given(arguments, "spatial_shapes").tolist()
        ]
