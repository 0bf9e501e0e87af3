"""Kits of the families that are told every image's grid of patches: `image_grid_thw`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers
from kit import (
    END,
    IDS,
    IMAGE,
    NEWLINE,
    SLIDING_LAYERS,
    START,
    TEXT,
    VIDEO,
    Kit,
    Picture,
    joined,
    pixels,
)

GRIDS = [(1, 6, 8), (1, 8, 4), (1, 4, 6)]
ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 2, 2]}
PATCHES = {"patch_size": 4, "spatial_merge_size": 2}
VISION = {**PATCHES, "depth": 2, "num_heads": 2, "hidden_size": 32, "intermediate_size": 48}
OUT = {"out_hidden_size": 48, "temporal_patch_size": 2}
MARKS = {
    "image_start_token_id": START,
    "image_end_token_id": END,
    "vision_start_token_id": START,
    "vision_end_token_id": END,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
ROUTED = {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "first_k_dense_replace": 1,
}


def config(
    kind: str, text: dict[str, Any], vision: dict[str, Any], **more: Any
) -> Callable[[], Any]:
    def build() -> Any:
        return getattr(transformers, kind)(
            text_config={**TEXT, **text}, vision_config=vision, **IDS, **more
        )

    return build


def image(*patch: int) -> Callable[..., Picture]:
    """An image of patches with this shape each, between its marks."""

    def make(model: Any, number: int, random: torch.Generator) -> Picture:
        grid = GRIDS[number % 3]
        patches = grid[0] * grid[1] * grid[2]
        ids = [START] + [IMAGE] * (patches // 4) + [END]
        values = pixels(random, patches, *patch)
        return Picture(ids, {"pixel_values": values, "image_grid_thw": torch.tensor([grid])})

    return make


def clip(*patch: int) -> Callable[..., Picture]:
    def make(model: Any, number: int, random: torch.Generator) -> Picture:
        ids = [START] + [VIDEO] * 12 + [END]
        tensors = {
            "pixel_values_videos": pixels(random, 48, *patch),
            "video_grid_thw": torch.tensor([(3, 4, 4)]),
        }
        return Picture(ids, tensors)

    return make


video = clip(96)


def with_seconds(model: Any, number: int, random: torch.Generator) -> Picture:
    picture = video(model, number, random)
    picture.tensors["video_second_per_grid"] = torch.tensor([0.5])
    return picture


def merging(make: Callable[..., Picture], kind: str) -> Callable[..., Picture]:
    """Says by how much patches are merged."""

    def told(model: Any, number: int, random: torch.Generator) -> Picture:
        picture = make(model, number, random)
        picture.tensors[f"{kind}_merge_sizes"] = torch.tensor([2])
        return picture

    return told


def framed(make: Callable[..., Picture]) -> Callable[..., Picture]:
    """Rows that end with a newline token, between a begin and an end token."""

    def told(model: Any, number: int, random: torch.Generator) -> Picture:
        picture = make(model, number, random)
        _, height, width = GRIDS[number % 3]
        picture.ids = [START] + [IMAGE] * (height // 2 * (width // 2 + 1) + 2) + [END]
        return picture

    return told


def kit(model: str, build: Callable[[], Any], *patch: int, **more: Any) -> Kit:
    make = more.pop("around", lambda made: made)(image(*patch or (96,)))
    return Kit(build, model, make, joined, lean=True, **more)


MROPE = {"kinds": "mm_token_type_ids"}
GLM_VISION = {**VISION, **OUT, "image_size": 32}
GLM_TEXT = {"rope_parameters": {**ROPE, "partial_rotary_factor": 1.0}}
WINDOWS = {"window_size": 16, "fullatt_block_indexes": [1]}
DEEP = {"num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]}
AUDIO = {"encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 8, "d_model": 8}
LATENT = {
    "num_key_value_heads": 4,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "v_head_dim": 12,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "n_group": 1,
    "topk_group": 1,
}


MUSE_TEXT = {
    "head_dim": 12,
    "sliding_window": 20,
    "layer_types": SLIDING_LAYERS,
    "layer_rope_theta": [10000.0, 10000.0, 0] * 2,
    "qk_scale_factor": 1.0,
}
MUSE_VISION = {
    "patch_size": 4,
    "pos_emb_height": 8,
    "pos_emb_width": 8,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
MUSE = {"out_hidden_size": 128, "projector_hidden_size": 32}


def omni(kind: str, text: dict[str, Any], vision: dict[str, Any], audio: dict[str, Any]) -> Any:
    def build() -> Any:
        return getattr(transformers, kind)(
            audio_config={**AUDIO, **audio},
            text_config={**TEXT, "rope_parameters": ROPE, **text},
            vision_config={**VISION, **OUT, **vision},
            image_token_index=IMAGE,
            video_token_index=VIDEO,
            audio_token_index=58,
            image_token_id=IMAGE,
            video_token_id=VIDEO,
            audio_token_id=58,
            vision_start_token_id=START,
            vision_end_token_id=END,
        )

    return build


def emu_config() -> Any:
    """16 codes; the encoder halves a picture once."""
    names = {f"<|visual token {code:06d}|>": 20 + code for code in range(16)}
    return transformers.Emu3Config(
        vq_config={
            "codebook_size": 16,
            "embed_dim": 4,
            "latent_channels": 4,
            "base_channels": 32,
            "channel_multiplier": [1, 1],
            "num_res_blocks": 1,
            "attn_resolutions": [],
            "hidden_size": 32,
            "temporal_downsample_factor": 1,
        },
        text_config=TEXT,
        vocabulary_map={**names, "<|extra_200|>": NEWLINE, "<image>": IMAGE},
    )


def emu_image(model: Any, number: int, random: torch.Generator) -> Picture:
    height, width = [(6, 8), (8, 4), (4, 6)][number % 3]
    picture = torch.zeros(1, 3, 8, 8)
    picture[:, :, :height, :width] = pixels(random, 1, 3, height, width)
    ids = [START] + [IMAGE] * (height // 2 * (width // 2 + 1)) + [END]
    sizes = torch.tensor([[height, width]])
    return Picture(ids, {"pixel_values": picture, "image_sizes": sizes})


KITS: dict[str, Kit] = {
    "GLM-4V": kit(
        "Glm4vForConditionalGeneration",
        config("Glm4vConfig", GLM_TEXT, GLM_VISION, **MARKS),
        beams=False,
        **MROPE,
    ),
    "GLM-4V-MoE": kit(
        "Glm4vMoeForConditionalGeneration",
        config("Glm4vMoeConfig", {**GLM_TEXT, **ROUTED}, GLM_VISION, **MARKS),
        beams=False,
        **MROPE,
    ),
    "GLM-4.6V": kit(
        "Glm46VForConditionalGeneration",
        config(
            "Glm46VConfig",
            {**GLM_TEXT, "model_type": "glm4v_text"},
            {**VISION, **OUT, "image_size": 32, "model_type": "glm4v_vision"},
            **MARKS,
        ),
        beams=False,
        **MROPE,
    ),
    "GLM-OCR": kit(
        "GlmOcrForConditionalGeneration",
        config(
            "GlmOcrConfig",
            {**GLM_TEXT, "head_dim": 12},
            GLM_VISION,
            **MARKS,
        ),
        beams=False,
        **MROPE,
    ),
    "PaddleOCR-VL": kit(
        "PaddleOCRVLForConditionalGeneration",
        config(
            "PaddleOCRVLConfig",
            {"rope_parameters": ROPE, "head_dim": 12},
            {
                **PATCHES,
                "image_size": 32,
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
            },
            **MARKS,
        ),
        3,
        4,
        4,
        **MROPE,
    ),
    "EXAONE 4.5": kit(
        "Exaone4_5_ForConditionalGeneration",
        config(
            "Exaone4_5_Config",
            {"sliding_window": 20, "layer_types": SLIDING_LAYERS, "model_type": "exaone4"},
            {**VISION, **OUT, **WINDOWS, "num_key_value_heads": 2},
        ),
        video=video,
    ),
    "HyperCLOVA X": kit(
        "HyperCLOVAXVisionV2ForConditionalGeneration",
        config(
            "HyperCLOVAXVisionV2Config",
            {"head_dim": 12, "attention_multiplier": 0.3, "model_type": "hyperclovax"},
            {**VISION, **OUT, **WINDOWS, "model_type": "qwen2_5_vl_vision"},
        ),
    ),
    "Kimi K2.5": kit(
        "Kimi_K25ForConditionalGeneration",
        config(
            "Kimi_K25Config",
            {**ROUTED, **LATENT, "initializer_range": 0.1, "model_type": "deepseek_v3"},
            {
                "patch_size": 4,
                "pos_emb_height": 8,
                "pos_emb_width": 8,
                "pos_emb_time": 2,
                "num_attention_heads": 2,
                "num_hidden_layers": 2,
                "hidden_size": 32,
                "intermediate_size": 48,
                "merge_kernel_size": [2, 2],
            },
            projection_hidden_size=32,
            **MARKS,
        ),
        3,
        4,
        4,
    ),
    "Qwen2.5-Omni": kit(
        "Qwen2_5OmniThinkerForConditionalGeneration",
        omni("Qwen2_5OmniThinkerConfig", {}, WINDOWS, {"output_dim": 48, "n_window": 2}),
        video=with_seconds,
    ),
    "Qwen3-Omni": kit(
        "Qwen3OmniMoeThinkerForConditionalGeneration",
        omni(
            "Qwen3OmniMoeThinkerConfig",
            {**EXPERTS, "head_dim": 12},
            DEEP,
            {"output_dim": 48, "n_window": 2, "downsample_hidden_size": 8},
        ),
        video=with_seconds,
    ),
    "Cosmos 3 Edge": kit(
        "Cosmos3EdgeForConditionalGeneration",
        config(
            "Cosmos3EdgeConfig",
            {"rope_parameters": ROPE, "head_dim": 12},
            {
                **PATCHES,
                "num_patches": 64,
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
            },
            projector_hidden_size=48,
            **MARKS,
        ),
        48,
        **MROPE,
    ),
    "Cosmos 3 Omni": kit(
        "Cosmos3OmniForConditionalGeneration",
        config(
            "Cosmos3OmniConfig",
            {"rope_parameters": ROPE, "head_dim": 12},
            {**VISION, **OUT, **DEEP},
            **MARKS,
        ),
        **MROPE,
    ),
    "ERNIE 4.5-VL": kit(
        "Ernie4_5_VLMoeForConditionalGeneration",
        config(
            "Ernie4_5_VLMoeConfig",
            {
                "rope_parameters": ROPE,
                "moe_intermediate_size": [32, 16],
                "moe_num_experts": 4,
                "moe_k": 2,
                "moe_num_shared_experts": 1,
                "mlp_layer_types": ["dense"] + ["sparse"] * 5,
                "tie_word_embeddings": False,
            },
            {**VISION, "temporal_merge_size": 2, "in_channels": 3},
            **{**MARKS, "video_start_token_id": START, "video_end_token_id": END},
            tie_word_embeddings=False,
        ),
        48,
        kinds="moe_mm_token_type_ids",
    ),
    "VideoLLaMA 3": Kit(
        config(
            "VideoLlama3Config",
            {"model_type": "qwen2"},
            {
                "patch_size": 4,
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
            },
        ),
        "VideoLlama3ForConditionalGeneration",
        merging(image(48), "image"),
        joined,
        merging(clip(48), "video"),
        lean=True,
    ),
    "Muse Glimmer": kit(
        "MuseGlimmerForConditionalGeneration",
        config("MuseGlimmerConfig", MUSE_TEXT, MUSE_VISION, **MUSE),
    ),
    "Muse Spark": kit(
        "MuseSparkForConditionalGeneration",
        config(
            "MuseSparkConfig",
            {
                **MUSE_TEXT,
                "num_local_experts": 4,
                "num_experts_per_tok": 2,
                "moe_intermediate_size": 32,
                "moe_hidden_size": 32,
                "initializer_range": 0.1,
            },
            MUSE_VISION,
            **MUSE,
            audio_token_id=58,
            audio_config={
                "patch_sizes": [2, 2],
                "hidden_sizes": [8, 8],
                "depths": [1, 1],
                "num_hidden_layers": 2,
                "out_hidden_size": 48,
            },
        ),
    ),
    "MiniMax M3": kit(
        "MiniMaxM3SparseForConditionalGeneration",
        config(
            "MiniMaxM3VLConfig",
            {
                "head_dim": 12,
                "rotary_dim": 6,
                "num_local_experts": 4,
                "num_experts_per_tok": 2,
                "dense_intermediate_size": 48,
                "shared_intermediate_size": 32,
                "intermediate_size": 32,
                "layer_types": ["full_attention"] * 6,
            },
            {
                **PATCHES,
                "temporal_patch_size": 2,
                "image_size": 32,
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
            },
            projector_hidden_size=32,
            image_token_index=IMAGE,
            video_token_index=VIDEO,
        ),
    ),
    "Cohere Compass": kit(
        "CohereCompassForConditionalGeneration",
        config(
            "CohereCompassConfig",
            {
                "head_dim": 12,
                "sliding_window": 20,
                "layer_types": SLIDING_LAYERS,
                "rope_parameters": {"sliding_attention": ROPE, "full_attention": None},
                "logit_scale": 1.0,
                "tie_word_embeddings": False,
            },
            {**VISION, **OUT, **DEEP},
            **MARKS,
        ),
        **MROPE,
    ),
    "HunYuan-VL": kit(
        "HunYuanVLForConditionalGeneration",
        config(
            "HunYuanVLConfig",
            {
                "rope_parameters": {**ROPE, "rope_type": "default", "mrope_section": [1, 1, 2, 2]},
                "head_dim": 12,
                "tie_word_embeddings": False,
            },
            {
                **PATCHES,
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
                "out_hidden_size": 48,
                "text_hidden_size": 48,
                "max_image_size": 32,
                "img_max_token_num": 64,
            },
            im_start_id=START,
            im_end_id=END,
            im_newline_id=55,
            tie_word_embeddings=False,
        ),
        48,
        around=framed,
        **MROPE,
    ),
    "Emu 3": Kit(emu_config, "Emu3ForConditionalGeneration", emu_image, joined, lean=True),
}
