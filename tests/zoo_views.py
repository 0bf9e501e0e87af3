"""Kits of the families whose images are a view of the whole and views of its parts."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from kit import (
    DEPTH,
    END,
    FAKE,
    IMAGE,
    NEWLINE,
    SLIDING_LAYERS,
    START,
    TAG,
    TEXT,
    VISION,
    Kit,
    Picture,
    joined,
    padded,
    pixels,
    stacked_tiles,
    tiled_image,
)

SAM = {
    "hidden_size": 32,
    "output_channels": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 64,
    "patch_size": 8,
    "mlp_dim": 32,
    "window_size": 4,
    "global_attn_indexes": [1],
    "initializer_range": 0.2,
    "downsample_channels": [24, 48],
}


def in_order(pictures: list[list[Picture]]) -> dict[str, Any]:
    """As `joined`; num_local_patches as processors give it."""
    out = joined(pictures)
    if "num_local_patches" in out:
        out["num_local_patches"] = out["num_local_patches"].tolist()
    return out


def step_config() -> Any:
    return transformers.Step3p7Config(
        vision_config={
            **VISION,
            "image_size": 48,
            "mlp_ratio": 1.5,
            "max_position_embeddings": 144,
        },
        text_config={
            **TEXT,
            "head_dim": 12,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "share_expert_dim": 32,
            "sliding_window": 20,
            "num_sliding_attention_heads": 4,
            "query_pre_attn_scalar": 12,
            "layer_types": SLIDING_LAYERS,
            "mlp_layer_types": ["dense"] + ["sparse"] * (DEPTH - 1),
            "rope_parameters": {
                kind: {"rope_type": "default", "rope_theta": 10000.0}
                for kind in set(SLIDING_LAYERS)
            },
            "initializer_range": 0.1,
        },
        image_token_id=IMAGE,
    )


def step_image(model: Any, number: int, random: torch.Generator) -> Picture:
    """Local views of 2 x 2 tokens, then the whole of 3 x 3."""
    local = (2, 0, 1)[number % 3]
    ids = [token for _ in range(local) for token in (START, *[IMAGE] * 4, NEWLINE)]
    tensors = {
        "pixel_values": pixels(random, 1, 3, 48, 48),
        "num_local_patches": torch.tensor([local]),
        "pixel_values_local": pixels(random, local, 3, 32, 32),
    }
    return Picture([*ids, START, *[IMAGE] * 9, END], tensors)


def with_parts(pictures: list[list[Picture]]) -> dict[str, Any]:
    """No tensor of local views where no picture has any."""
    out = in_order(pictures)
    if "pixel_values_local" in out and not len(out["pixel_values_local"]):
        del out["pixel_values_local"]
    return out


def ocr_config() -> Any:
    return transformers.DeepseekOcr2Config(
        vision_config={
            "sam_config": SAM,
            "encoder_config": {
                **TEXT,
                "hidden_size": 48,
                "num_hidden_layers": 1,
                "initializer_range": 0.2,
                "sliding_window": None,
            },
        },
        text_config={
            **TEXT,
            "n_group": 1,
            "topk_group": 1,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "n_shared_experts": 1,
            "moe_intermediate_size": 32,
            "mlp_layer_types": ["dense"] + ["sparse"] * (DEPTH - 1),
        },
        image_token_id=IMAGE,
    )


def ocr_image(model: Any, number: int, random: torch.Generator) -> Picture:
    """Small views have 144 tokens each, whatever their size."""
    local = (1, 0, 0)[number % 3]
    tensors = {
        "pixel_values": pixels(random, 1, 3, 64, 64),
        "num_local_patches": torch.tensor([local]),
        "pixel_values_local": pixels(random, local, 3, 64, 64),
    }
    return Picture([IMAGE] * (144 * (local + 1) + 1), tensors)


def molmo_config() -> Any:
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16}
    return transformers.Molmo2Config(
        vision_config={**VISION, **heads, "image_size": [24, 24], "num_position_embeddings": 36},
        adapter_config={
            **heads,
            "vision_feature_layer": [-1, -2],
            "hidden_size": 32,
            "intermediate_size": 48,
            "text_hidden_size": 48,
        },
        text_config={**TEXT, "head_dim": 12, "additional_vocab_size": 8},
        image_patch_id=IMAGE,
        image_start_token_id=START,
        image_end_token_id=END,
    )


def molmo_image(model: Any, number: int, random: torch.Generator) -> Picture:
    """The whole in 3 x 3 tokens, then a crop of it, row by row."""
    height, width = ((2, 3), (0, 0), (3, 2))[number % 3]
    ids = [START, *[IMAGE] * 9, END]
    ids += [START, *([IMAGE] * width + [NEWLINE]) * height, END] if height else []
    crops = 2 if height else 1
    pooled = torch.randint(36 * crops, (9 + height * width, 4), generator=random)
    tensors = {
        "pixel_values": pixels(random, crops, 36, 48),
        "image_token_pooling": pooled,
        "image_grids": torch.tensor([[3, 3, height, width]]),
    }
    return Picture(ids, tensors)


def molmo_collate(pictures: list[list[Picture]]) -> dict[str, Any]:
    """Patches are counted over all crops of the batch."""
    flat, before = [picture for row in pictures for picture in row], 0
    for number, picture in enumerate(flat):
        tensors = dict(picture.tensors)
        tensors["image_token_pooling"] = tensors["image_token_pooling"] + before
        before += 36 * len(tensors["pixel_values"])
        flat[number] = Picture(picture.ids, tensors)
    return joined([flat])


def llama4_config() -> Any:
    kinds = ["chunked_attention", "chunked_attention", "full_attention"] * 2
    return transformers.Llama4Config(
        vision_config={
            **VISION,
            "image_size": 24,
            "intermediate_size": 128,
            "vision_output_dim": 32,
            "projector_input_dim": 32,
            "projector_output_dim": 32,
        },
        text_config={
            **TEXT,
            "head_dim": 12,
            "intermediate_size_mlp": 64,
            "num_local_experts": 4,
            "num_experts_per_tok": 1,
            "interleave_moe_layer_step": 2,
            "no_rope_layers": [1, 1, 0] * 2,
            "layer_types": kinds,
            "initializer_range": 0.1,
        },
        image_token_index=IMAGE,
        boi_token_index=START,
        eoi_token_index=END,
    )


def llama4_image(model: Any, number: int, random: torch.Generator) -> Picture:
    """As the processor writes it: rows of tiles, then the whole in one."""
    rows, columns = ((2, 2), (0, 0), (1, 2))[number % 3]
    ids = [START]
    for _ in range(rows):
        for column in range(columns):
            ids += [IMAGE] * 9 + ([TAG] if column < columns - 1 else [])
        ids.append(NEWLINE)
    tiles = pixels(random, rows * columns + 1, 3, 24, 24)
    return Picture([*ids, FAKE, *[IMAGE] * 9, END], {"pixel_values": tiles})


def docling_config() -> Any:
    return transformers.GraniteDoclingConfig(
        vision_config={
            **VISION,
            "image_size": 24,
            "out_hidden_size": 48,
            "scale_factor": 2,
            "deepstack_visual_indexes": [0, 1],
            "use_fine_route": False,
        },
        text_config={**TEXT, "attention_multiplier": 0.3, "tie_word_embeddings": False},
        image_token_id=IMAGE,
        pad_token_id=0,
        tie_word_embeddings=False,
    )


def docling_collate(pictures: list[list[Picture]]) -> dict[str, Any]:
    """As Idefics3's, and which of the tiles are real."""
    rows = stacked_tiles(pictures)
    real = padded([torch.ones(len(row), dtype=torch.bool) for row in rows])
    return {"pixel_values": padded(rows), "pixel_attention_mask": real}


KITS: dict[str, Kit] = {
    "Step 3.7": Kit(
        step_config, "Step3p7ForConditionalGeneration", step_image, with_parts, lean=True
    ),
    "DeepSeek-OCR 2": Kit(
        ocr_config, "DeepseekOcr2ForConditionalGeneration", ocr_image, with_parts, lean=True
    ),
    "Molmo 2": Kit(
        molmo_config,
        "Molmo2ForConditionalGeneration",
        molmo_image,
        molmo_collate,
        kinds="mm_token_type_ids",
        lean=True,
        turns=False,
    ),
    "Llama 4": Kit(
        llama4_config,
        "Llama4ForConditionalGeneration",
        llama4_image,
        joined,
        lean=True,
        beams=False,
    ),
    "Granite Docling": Kit(
        docling_config,
        "GraniteDoclingForConditionalGeneration",
        tiled_image((2, 2)),
        docling_collate,
        lean=True,
    ),
}
