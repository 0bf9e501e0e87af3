"""Families whose pictures are squares of one size, or a fixed number of query tokens.

Where a processor cuts a picture into tiles, each tile is an image with a budget of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from stsprune.errors import UnsupportedModeError

from .base import Family
from .internvl import InternVL
from .mistral import Mistral3
from .shapes import placeless, rows_of_patches, squares
from .table import Table, row


def _patches(model: Any) -> int:
    vision = model.config.vision_config
    return int(vision.image_size // vision.patch_size)


def _aria(model: Any) -> list[int]:
    return list(model.config.projector_patch_to_query_dict.values())


class PaliGemma(Table):
    """The prefix, text and image, is one block of bidirectional attention: token type 0."""

    text_inputs: ClassVar[Mapping[str, int]] = {"attention_mask": 1, "token_type_ids": 1}

    def blocks(self, model: Any, arguments: dict[str, Any]) -> Tensor | None:
        """See `Family.blocks`."""
        kinds = arguments.get("token_type_ids")
        if kinds is None:
            raise UnsupportedModeError(
                "token_type_ids must be given to PaliGemma: without them its attention has no "
                "causal part (the processor makes them)"
            )
        return torch.where(kinds == 0, 0, -1)


class QianfanOCR(InternVL):
    """As InternVL, over Qwen3."""

    name = "Qianfan-OCR"
    classes = ("QianfanOCRForConditionalGeneration",)


class LightOnOCR(Mistral3):
    """As Mistral 3, over Qwen3."""

    name = "LightOnOCR"
    classes = ("LightOnOcrForConditionalGeneration",)


SQUARES: tuple[Family, ...] = (
    row("PaliGemma", "PaliGemmaForConditionalGeneration", squares(_patches), PaliGemma),
    row(
        "Cohere 2 Vision",
        "Cohere2VisionForConditionalGeneration",
        squares(lambda model: _patches(model) // model.config.downsample_factor),
    ),
    row(
        "Aya Vision",
        "AyaVisionForConditionalGeneration",
        squares(lambda model: _patches(model) // model.config.downsample_factor),
    ),
    row(
        "Ovis 2",
        "Ovis2ForConditionalGeneration",
        squares(lambda model: -(-_patches(model) // model.config.vision_config.hidden_stride)),
    ),
    row("DeepSeek-VL", "DeepseekVLForConditionalGeneration", squares(_patches)),
    row("DeepSeek-VL Hybrid", "DeepseekVLHybridForConditionalGeneration", squares(_patches)),
    row("Janus", "JanusForConditionalGeneration", squares(_patches)),
    row("ViP-LLaVA", "VipLlavaForConditionalGeneration", squares(_patches)),
    row("Video-LLaVA", "VideoLlavaForConditionalGeneration", squares(_patches), since="5.23"),
    row(
        "GOT-OCR 2",
        "GotOcr2ForConditionalGeneration",
        squares(lambda model: _patches(model) // 4),  # two convolutions of stride 2
    ),
    row(
        "Idefics2",
        "Idefics2ForConditionalGeneration",
        placeless(lambda model: [model.config.perceiver_config.resampler_n_latents]),
    ),
    row("Aria", "AriaForConditionalGeneration", placeless(_aria)),
    row("Fuyu", "FuyuForCausalLM", rows_of_patches, since="5.23"),
    QianfanOCR(),
    LightOnOCR(),
)
