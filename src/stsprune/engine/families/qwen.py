"""Qwen2-VL, Qwen2.5-VL, Qwen3-VL: any resolution, merged patches, three-axis rotary positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from ..layout import Ids
from ..visual import Plane, Visual
from .base import Family, given


class Qwen2VL(Family):
    """Images are one grid; a video is a stack of grids, one per merged pair of frames."""

    name = "Qwen2-VL"
    classes: ClassVar[tuple[str, ...]] = ("Qwen2VLForConditionalGeneration",)
    modalities = ("image", "video")
    rotary_axes = 3

    def visuals(
        self, model: Any, modality: str, arguments: dict[str, Any], ids: Ids
    ) -> Sequence[Visual]:
        """See `Family.visuals`."""
        merge = model.config.vision_config.spatial_merge_size
        video = modality == "video"
        return [
            Visual((Plane((height // merge, width // merge)),) * frames, stacked=video, video=video)
            for frames, height, width in given(arguments, f"{modality}_grid_thw").tolist()
        ]


class Qwen25VL(Qwen2VL):
    """As Qwen2-VL."""

    name = "Qwen2.5-VL"
    classes = ("Qwen2_5_VLForConditionalGeneration",)


class Qwen3VL(Qwen2VL):
    """Adds visual features to the first decoder layers (deepstack); frames stand apart."""

    name = "Qwen3-VL"
    classes = ("Qwen3VLForConditionalGeneration",)


class Qwen3VLMoe(Qwen3VL):
    """As Qwen3-VL, with experts."""

    name = "Qwen3-VL-MoE"
    classes = ("Qwen3VLMoeForConditionalGeneration",)
