"""Families whose processor tells every image's grid: `image_grid_thw`, or its size in pixels."""

from __future__ import annotations

from typing import Any

from .base import Family
from .shapes import framed, from_grid_thw, from_merge_sizes, rows_of_codes
from .table import Table, row

_BOTH = ("image", "video")
_SECONDS = {"video_second_per_grid": "second_per_grids"}


class Emu3(Table):
    """Images become codes of the text model's own vocabulary."""

    def decoder(self, model: Any) -> Any:
        """See `Family.decoder`."""
        return model.model.text_model


#: GLM's videos have the placeholders of images and are left as they are.
GRIDS: tuple[Family, ...] = (
    row("GLM-4V", "Glm4vForConditionalGeneration", from_grid_thw, rotary_axes=3),
    row("GLM-4V-MoE", "Glm4vMoeForConditionalGeneration", from_grid_thw, rotary_axes=3),
    row("GLM-4.6V", "Glm46VForConditionalGeneration", from_grid_thw, rotary_axes=3),
    row("GLM-OCR", "GlmOcrForConditionalGeneration", from_grid_thw, rotary_axes=3),
    row("PaddleOCR-VL", "PaddleOCRVLForConditionalGeneration", from_grid_thw, rotary_axes=3),
    row("EXAONE 4.5", "Exaone4_5_ForConditionalGeneration", from_grid_thw, modalities=_BOTH),
    row("HyperCLOVA X", "HyperCLOVAXVisionV2ForConditionalGeneration", from_grid_thw),
    row("Kimi K2.5", "Kimi_K25ForConditionalGeneration", from_grid_thw),
    row(
        "Qwen2.5-Omni",
        "Qwen2_5OmniThinkerForConditionalGeneration",
        from_grid_thw,
        modalities=_BOTH,
        rotary_axes=3,
        rope_inputs=_SECONDS,
        since="5.23",
    ),
    row(
        "Qwen3-Omni",
        "Qwen3OmniMoeThinkerForConditionalGeneration",
        from_grid_thw,
        modalities=_BOTH,
        rotary_axes=3,
        rope_inputs=_SECONDS,
        since="5.23",
    ),
    row("Cosmos 3 Edge", "Cosmos3EdgeForConditionalGeneration", from_grid_thw, rotary_axes=3),
    row("Cosmos 3 Omni", "Cosmos3OmniForConditionalGeneration", from_grid_thw, rotary_axes=3),
    row(
        "ERNIE 4.5-VL",
        "Ernie4_5_VLMoeForConditionalGeneration",
        from_grid_thw,
        rotary_axes=3,
        per_token=("moe_mm_token_type_ids",),
    ),
    row("VideoLLaMA 3", "VideoLlama3ForConditionalGeneration", from_merge_sizes, modalities=_BOTH),
    row("Muse Glimmer", "MuseGlimmerForConditionalGeneration", from_grid_thw),
    row("Muse Spark", "MuseSparkForConditionalGeneration", from_grid_thw),
    row("MiniMax M3", "MiniMaxM3SparseForConditionalGeneration", from_grid_thw, since="5.23"),
    row("Cohere Compass", "CohereCompassForConditionalGeneration", from_grid_thw, rotary_axes=3),
    row("Emu 3", "Emu3ForConditionalGeneration", rows_of_codes, Emu3, since="5.23"),
    row("HunYuan-VL", "HunYuanVLForConditionalGeneration", framed, rotary_axes=4),
)
