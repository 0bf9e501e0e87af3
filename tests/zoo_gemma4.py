"""Kits of Gemma 4: with blocks, experts, inputs per layer, and without an encoder."""

from __future__ import annotations

from typing import Any

import torch
import transformers
import zoo
from zoo import DEPTH, IDS, IMAGE, TEXT, VISION, VOCABULARY, Kit, Picture

KINDS = ["sliding_attention", "sliding_attention", "full_attention"] * 2
DENSE = {
    **TEXT,
    "initializer_range": 0.1,
    "head_dim": 12,
    "global_head_dim": 16,
    "sliding_window": 14,
    "layer_types": KINDS,
    "hidden_size_per_layer_input": 0,
    "use_bidirectional_attention": "vision",
}
EXPERTS = {
    "enable_moe_block": True,
    "num_experts": 4,
    "top_k_experts": 2,
    "moe_intermediate_size": 32,
}
PER_LAYER = {
    "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": VOCABULARY,
    "use_bidirectional_attention": None,
}
AROUND = {**IDS, "boi_token_id": zoo.START, "eoi_token_id": zoo.END, "audio_token_id": 62}


def config(**more: Any) -> Any:
    return transformers.Gemma4Config(
        text_config={**DENSE, **more},
        vision_config={
            **VISION,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "pooling_kernel_size": 2,
            "position_embedding_size": 16,
            "initializer_range": 0.1,
        },
        audio_config=None,
        **AROUND,
    )


def moe_config() -> Any:
    return config(**EXPERTS)


def per_layer_config() -> Any:
    return config(**PER_LAYER)


def shared_config() -> Any:
    """The last sliding and the last full layer read layers 3 and 2."""
    return config(**PER_LAYER, num_kv_shared_layers=2, use_double_wide_mlp=True)


def unified_config() -> Any:
    text = {k: v for k, v in DENSE.items() if k != "hidden_size_per_layer_input"}
    return transformers.Gemma4UnifiedConfig(
        text_config=text,
        vision_config={
            "patch_size": 2,
            "pooling_kernel_size": 2,
            "mm_embed_dim": 32,
            "mm_posemb_size": 16,
            "output_proj_dims": 32,
            "initializer_range": 0.1,
        },
        audio_config=None,
        **AROUND,
    )


def image(pooled: int, most: int) -> Any:
    """Patches of one image with their places (x, y), filled up to `most`; `pooled` give a token."""

    def make(model: Any, number: int, random: torch.Generator) -> Picture:
        height, width = [(6, 8), (8, 4), (4, 6)][number % 3]
        if pooled == 1:
            height, width = height // 2, width // 2
        count = height * width
        places = torch.full((1, most, 2), -1)
        at = torch.arange(count)
        places[0, :count] = torch.stack([at % width, at // width], -1)
        values = torch.zeros(1, most, 48)
        values[:, :count] = torch.rand(1, count, 48, generator=random)
        ids = [zoo.START] + [IMAGE] * (count // pooled) + [zoo.END]
        return Picture(ids, {"pixel_values": values, "image_position_ids": places})

    return make


assert len(KINDS) == DEPTH
PARTS = {"collate": zoo.joined, "kinds": "mm_token_type_ids"}
MODEL = "Gemma4ForConditionalGeneration"
GEMMA4 = {
    "Gemma 4": Kit(config, MODEL, image(4, 48), **PARTS),
    "Gemma 4 MoE": Kit(moe_config, MODEL, image(4, 48), **PARTS),
    "Gemma 4 per layer": Kit(per_layer_config, MODEL, image(4, 48), **PARTS),
    "Gemma 4 shared keys": Kit(shared_config, MODEL, image(4, 48), **PARTS),
    "Gemma 4 unified": Kit(
        unified_config, "Gemma4UnifiedForConditionalGeneration", image(1, 12), **PARTS
    ),
}
