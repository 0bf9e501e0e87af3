"""Kits of the families whose pictures are squares of one size, or a fixed number of queries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers
from kit import (
    BREAK,
    END,
    FAKE,
    IMAGE,
    SLIDING_LAYERS,
    START,
    TAG,
    TEXT,
    VIDEO,
    VISION,
    Kit,
    Picture,
    joined,
    padded,
    pixels,
)


def config(kind: str, text: Any, vision: Any, **more: Any) -> Callable[[], Any]:
    """text and vision: (class of the config, what differs from TEXT and VISION)."""

    def part(shared: dict[str, Any], name: str, own: dict[str, Any]) -> Any:
        return getattr(transformers, name)(**{**shared, **own})

    def build() -> Any:
        return getattr(transformers, kind)(
            text_config=part(TEXT, *text),
            vision_config=part(VISION, *vision),
            **{"image_token_index": IMAGE, "image_token_id": IMAGE, **more},
        )

    return build


def image(tokens: int, size: int = 24, **extra: int) -> Callable[..., Picture]:
    """A square of tokens between its marks; extra: further pixels and their size."""

    def make(model: Any, number: int, random: torch.Generator) -> Picture:
        tensors = {"pixel_values": pixels(random, 1, 3, size, size)}
        tensors |= {name: pixels(random, 1, 3, side, side) for name, side in extra.items()}
        return Picture([START] + [IMAGE] * tokens + [END], tensors)

    return make


def rowwise(pictures: list[list[Picture]]) -> dict[str, Any]:
    """[rows, images, ...], filled up with images of nothing."""
    nothing = torch.zeros(0, 3, 24, 24)
    rows = [torch.cat([nothing, *(p.tensors["pixel_values"] for p in row)]) for row in pictures]
    return {"pixel_values": padded(rows)}


def fuyu_image(model: Any, number: int, random: torch.Generator) -> Picture:
    """Rows of patches, each ended by a newline."""
    height, width = ((3, 4), (4, 2), (2, 3))[number % 3]
    ids = ([IMAGE] * width + [BREAK]) * height
    return Picture(ids, {"pixel_values": pixels(random, 1, height * width, 48)})


def fuyu_collate(pictures: list[list[Picture]]) -> dict[str, Any]:
    flat = [p.tensors["pixel_values"] for row in pictures for p in row]
    return {"pixel_values": torch.cat(flat, 1)} if flat else {}


def fuyu_config() -> Any:
    return transformers.FuyuConfig(
        text_config={**TEXT, "model_type": "persimmon"},
        patch_size=4,
        image_size=16,
        image_token_id=IMAGE,
    )


def pixtral() -> Any:
    return transformers.PixtralVisionConfig(image_size=32, head_dim=16, **VISION)


def lighton_config() -> Any:
    return transformers.LightOnOcrConfig(
        vision_config=pixtral(),
        text_config=transformers.Qwen3Config(head_dim=12, **TEXT),
        image_token_id=IMAGE,
        spatial_merge_size=2,
    )


def lighton_image(model: Any, number: int, random: torch.Generator) -> Picture:
    height, width = [(24, 32), (32, 16), (16, 24)][number % 3]
    picture = torch.zeros(1, 3, 32, 32)
    picture[:, :, :height, :width] = pixels(random, 1, 3, height, width)
    sizes = torch.tensor([[height, width]])
    ids = [START] + [IMAGE] * (height // 8 * (width // 8)) + [END]
    return Picture(ids, {"pixel_values": picture, "image_sizes": sizes})


def qianfan_image(model: Any, number: int, random: torch.Generator) -> Picture:
    tiles = (3, 1, 4)[number % 3]
    ids = [START] + [IMAGE] * 9 * tiles + [END]
    return Picture(ids, {"pixel_values": pixels(random, tiles, 3, 24, 24)})


def kit(model: str, build: Callable[[], Any], make: Callable[..., Picture], **more: Any) -> Kit:
    return Kit(build, model, make, more.pop("collate", joined), lean=True, **more)


SIGLIP = ("SiglipVisionConfig", {"image_size": 24})
CLIP = ("CLIPVisionConfig", {"image_size": 24, "projection_dim": 32})
COHERE = (
    "Cohere2Config",
    {"sliding_window": 14, "layer_types": SLIDING_LAYERS, "logit_scale": 1.0},
)

KITS: dict[str, Kit] = {
    "PaliGemma": kit(
        "PaliGemmaForConditionalGeneration",
        config("PaliGemmaConfig", ("GemmaConfig", {"head_dim": 12}), SIGLIP, projection_dim=48),
        image(36),
        kinds="prefix",
        turns=False,
    ),
    "PaliGemma 2": kit(
        "PaliGemmaForConditionalGeneration",
        config(
            "PaliGemmaConfig",
            ("Gemma2Config", {"head_dim": 12, "sliding_window": 20, "query_pre_attn_scalar": 12}),
            SIGLIP,
            projection_dim=48,
        ),
        image(36),
        kinds="prefix",
        only_eager=True,
        turns=False,
    ),
    "Cohere 2 Vision": kit(
        "Cohere2VisionForConditionalGeneration",
        config("Cohere2VisionConfig", COHERE, SIGLIP, alignment_intermediate_size=32),
        image(9),
    ),
    "Aya Vision": kit(
        "AyaVisionForConditionalGeneration", config("AyaVisionConfig", COHERE, SIGLIP), image(9)
    ),
    "Ovis 2": kit(
        "Ovis2ForConditionalGeneration",
        config(
            "Ovis2Config",
            ("Qwen2Config", {}),
            ("Ovis2VisionConfig", {"image_size": 24, "vocab_size": 40, "hidden_stride": 2}),
            visual_indicator_token_ids=[START, END, TAG, FAKE, VIDEO],
            hidden_size=48,
            vocab_size=64,
        ),
        image(9),
    ),
    "DeepSeek-VL": kit(
        "DeepseekVLForConditionalGeneration",
        config("DeepseekVLConfig", ("LlamaConfig", {}), SIGLIP),
        image(36),
    ),
    "DeepSeek-VL Hybrid": kit(
        "DeepseekVLHybridForConditionalGeneration",
        config(
            "DeepseekVLHybridConfig",
            ("LlamaConfig", {}),
            SIGLIP,
            high_res_vision_config={
                "hidden_size": 32,
                "output_channels": 16,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "image_size": 48,
                "patch_size": 4,
                "mlp_dim": 32,
                "window_size": 4,
                "global_attn_indexes": [1],
                "initializer_range": 0.2,
            },
        ),
        image(36, high_res_pixel_values=48),
    ),
    "Janus": kit(
        "JanusForConditionalGeneration",
        config(
            "JanusConfig",
            ("LlamaConfig", {}),
            ("JanusVisionConfig", {"image_size": 24, "projection_dim": 48}),
            vq_config={
                "embed_dim": 4,
                "num_embeddings": 16,
                "latent_channels": 32,
                "base_channels": 32,
                "channel_multiplier": [1, 1],
                "num_res_blocks": 1,
                "projection_dim": 48,
                "image_token_embed_dim": 48,
            },
        ),
        image(36),
    ),
    "ViP-LLaVA": kit(
        "VipLlavaForConditionalGeneration",
        config("VipLlavaConfig", ("LlamaConfig", {}), CLIP, vision_feature_layers=[-1, -2]),
        image(36),
    ),
    "Video-LLaVA": kit(
        "VideoLlavaForConditionalGeneration",
        config("VideoLlavaConfig", ("LlamaConfig", {}), CLIP, video_token_index=61),
        image(36),
    ),
    "GOT-OCR 2": kit(
        "GotOcr2ForConditionalGeneration",
        config(
            "GotOcr2Config",
            ("Qwen2Config", {}),
            (
                "GotOcr2VisionConfig",
                {
                    "image_size": 80,
                    "output_channels": 16,
                    "mlp_dim": 32,
                    "window_size": 4,
                    "global_attn_indexes": [1],
                    "initializer_range": 0.2,
                },
            ),
        ),
        image(25, 80),
        eager_encoder=True,
    ),
    "Idefics2": kit(
        "Idefics2ForConditionalGeneration",
        config(
            "Idefics2Config",
            ("MistralConfig", {"sliding_window": 20}),
            ("Idefics2VisionConfig", {"image_size": 24}),
            perceiver_config={
                "resampler_n_latents": 12,
                "resampler_depth": 1,
                "resampler_n_heads": 2,
                "resampler_head_dim": 8,
                "num_key_value_heads": 1,
                "hidden_size": 48,
                "initializer_range": 0.25,
            },
        ),
        image(12),
        collate=rowwise,
    ),
    "Aria": kit(
        "AriaForConditionalGeneration",
        config(
            "AriaConfig",
            ("AriaTextConfig", {"moe_num_experts": 4, "moe_topk": 2, "moe_num_shared_experts": 1}),
            ("Idefics3VisionConfig", {"image_size": 24}),
            projector_patch_to_query_dict={36: 12},
        ),
        image(12),
    ),
    "Fuyu": kit("FuyuForCausalLM", fuyu_config, fuyu_image, collate=fuyu_collate, beams=False),
    "LightOnOCR": kit("LightOnOcrForConditionalGeneration", lighton_config, lighton_image),
    "Qianfan-OCR": kit(
        "QianfanOCRForConditionalGeneration",
        config(
            "QianfanOCRConfig",
            ("Qwen3Config", {"head_dim": 12}),
            ("QianfanOCRVisionConfig", {"image_size": [24, 24], "patch_size": [4, 4]}),
            image_seq_length=9,
        ),
        qianfan_image,
    ),
}
