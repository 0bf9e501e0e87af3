"""Kits of the families whose decoders scan in some of their layers."""

from __future__ import annotations

from typing import Any

import torch
import transformers
import zoo
from kit import BREAK, NEWLINE, TAG
from zoo import IDS, IMAGE, QWEN, QWEN_VISION, TEXT, VISION, Kit, Picture


def layers(scan: str) -> list[str]:
    """Attention in layers 1 and 4, so that behind the last filter nothing but a state is left."""
    return [scan, "full_attention", scan, scan, "full_attention", scan]


#: Smaller weights keep a state's rounding small.
CALM = {**TEXT, "initializer_range": 0.07}
DELTA = {
    "head_dim": 12,
    "layer_types": layers("linear_attention"),
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
ROPE = {
    "rope_type": "default",
    "rope_theta": 10000.0,
    "mrope_section": [2, 2, 2],
    "partial_rotary_factor": 1.0,
}
EXPERTS = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
}


def qwen35_config(kind: str = "Qwen3_5Config", **more: Any) -> Any:
    return getattr(transformers, kind)(
        text_config={**CALM, **DELTA, "rope_parameters": ROPE, **more},
        vision_config={
            **QWEN_VISION,
            "hidden_size": 32,
            "intermediate_size": 48,
            "out_hidden_size": 48,
            "num_position_embeddings": 64,
        },
        vision_start_token_id=zoo.START,
        vision_end_token_id=zoo.END,
        **IDS,
    )


def qwen35_moe_config() -> Any:
    return qwen35_config("Qwen3_5MoeConfig", **EXPERTS)


LFM_SHAPES = [(6, 8), (8, 4), (4, 6)]


def lfm2_config() -> Any:
    return transformers.Lfm2VlConfig(
        vision_config=transformers.Siglip2VisionConfig(num_patches=49, **VISION),
        text_config=transformers.Lfm2Config(
            **TEXT, layer_types=layers("conv"), block_auto_adjust_ff_dim=False
        ),
        image_token_id=IMAGE,
        projector_hidden_size=48,
    )


def lfm2_image(model: Any, number: int, random: torch.Generator) -> Picture:
    """Patches in a row, filled up to one number of them."""
    height, width = LFM_SHAPES[number % 3]
    values = torch.zeros(1, 48, 3 * 4 * 4)
    values[:, : height * width] = zoo.pixels(random, 1, height * width, 48)
    mask = (torch.arange(48) < height * width).long()[None]
    tensors = {
        "pixel_values": values,
        "pixel_attention_mask": mask,
        "spatial_shapes": torch.tensor([[height, width]]),
    }
    return Picture([zoo.START] + [IMAGE] * (height * width // 4) + [zoo.END], tensors)


def lfm3_config() -> Any:
    kinds = ["conv", "sliding_attention", "conv", "conv", "full_attention", "conv"]
    return transformers.Lfm3VlConfig(
        vision_config={
            **VISION,
            "num_key_value_heads": 2,
            "layer_types": ["conv", "full_attention", "conv"],
        },
        text_config=transformers.Lfm3Config(
            **CALM, head_dim=12, sliding_window=14, conv_L_cache=3, layer_types=kinds
        ),
        projector_hidden_size=48,
        vision_start_token_id=zoo.START,
        vision_end_token_id=zoo.END,
        **IDS,
    )


def minicpm_config(kind: str = "MiniCPMV4_6Config", **more: Any) -> Any:
    text = transformers.Qwen3_5TextConfig(
        **CALM, **DELTA, rope_parameters=ROPE | {"mrope_section": [2, 2, 2]}
    )
    return getattr(transformers, kind)(
        text_config=text,
        vision_config={**VISION, "image_size": 32},
        insert_layer_id=1,
        **IDS,
        **more,
    )


def minicpm_ocr_config() -> Any:
    return minicpm_config("MiniCPMOcrConfig", tie_word_embeddings=False)


def minicpm47_config() -> Any:
    marks = {
        "image_start_id": zoo.START,
        "image_end_id": zoo.END,
        "slice_start_id": TAG,
        "slice_end_id": BREAK,
        "newline_id": NEWLINE,
    }
    return minicpm_config("MiniCPMV4_7Config", **marks)


def minicpm_image(model: Any, number: int, random: torch.Generator) -> Picture:
    """Patches side by side; merged 2 x 2 in the encoder and once more behind it."""
    height, width = [(12, 16), (16, 8), (8, 12)][number % 3]
    tensors = {
        "pixel_values": zoo.pixels(random, 1, 3, 4, 4 * height * width),
        "target_sizes": torch.tensor([[height, width]], dtype=torch.int32),
    }
    return Picture([zoo.START] + [IMAGE] * (height * width // 16) + [zoo.END], tensors)


def minicpm_ocr_image(model: Any, number: int, random: torch.Generator) -> Picture:
    """As above, merged once less."""
    picture = minicpm_image(model, number, random)
    tokens = picture.tensors["target_sizes"].prod().item() // 4
    return Picture([zoo.START] + [IMAGE] * tokens + [zoo.END], picture.tensors)


def minicpm_sliced_image(model: Any, number: int, random: torch.Generator) -> Picture:
    """A thumbnail; the first picture also has two slices, in a row of their own each."""
    whole = minicpm_image(model, number, random)
    if number % 3:
        return whole
    ids, parts = whole.ids, [whole]
    for at in range(2):
        parts.append(minicpm_image(model, 1, random))
        tokens = len(parts[-1].ids) - 2
        ids = ids + [NEWLINE] * at + [TAG] + [IMAGE] * tokens + [BREAK]
    return Picture(ids, packed([parts]))


def packed(pictures: list[list[Picture]]) -> dict[str, Any]:
    """All patches of a batch in one long row."""
    tensors = [p.tensors for row in pictures for p in row]
    if not tensors:
        return {}
    return {
        "pixel_values": torch.cat([t["pixel_values"] for t in tensors], -1),
        "target_sizes": torch.cat([t["target_sizes"] for t in tensors]),
    }


def nemotron_config() -> Any:
    text = transformers.NemotronHConfig(
        **CALM,
        layers_block_type=[
            "linear_attention",
            "full_attention",
            "moe",
            "linear_attention",
            "full_attention",
            "mlp",
        ],
        head_dim=12,
        mamba_num_heads=4,
        mamba_head_dim=12,
        n_groups=2,
        ssm_state_size=8,
        chunk_size=8,
        n_routed_experts=4,
        moe_intermediate_size=32,
        moe_shared_expert_intermediate_size=32,
    )
    vision = transformers.RadioConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        mlp_ratio=2.0,
        patch_size=4,
        image_size=32,
        max_img_size=64,
        video_temporal_patch_size=2,
    )
    return transformers.NemotronH_Omni_Reasoning_V3_Config(
        text_config=text,
        vision_config=vision,
        projector_hidden_size=32,
        vision_hidden_size=32,
        **IDS,
    )


def nemotron_image(model: Any, number: int, random: torch.Generator) -> Picture:
    height, width = LFM_SHAPES[number % 3]
    tensors = {
        "pixel_values": zoo.pixels(random, height * width, 48),
        "image_grid_hw": torch.tensor([[height, width]]),
    }
    return Picture([zoo.START] + [IMAGE] * (height * width // 4) + [zoo.END], tensors)


HYBRIDS = {
    "Qwen3.5": Kit(qwen35_config, "Qwen3_5ForConditionalGeneration", video=zoo.qwen3_video, **QWEN),
    "Qwen3.5-MoE": Kit(
        qwen35_moe_config, "Qwen3_5MoeForConditionalGeneration", video=zoo.qwen3_video, **QWEN
    ),
    "LFM2-VL": Kit(lfm2_config, "Lfm2VlForConditionalGeneration", lfm2_image, zoo.joined),
    "LFM3-VL": Kit(
        lfm3_config, "Lfm3VlForConditionalGeneration", zoo.qwen_image, zoo.joined, zoo.qwen_video
    ),
    "MiniCPM-V 4.6": Kit(
        minicpm_config, "MiniCPMV4_6ForConditionalGeneration", minicpm_image, packed
    ),
    "MiniCPM-V 4.7": Kit(
        minicpm47_config,
        "MiniCPMV4_7ForConditionalGeneration",
        minicpm_image,
        packed,
        kinds="mm_token_type_ids",
        lean=True,
    ),
    "MiniCPM-OCR": Kit(
        minicpm_ocr_config,
        "MiniCPMOcrForConditionalGeneration",
        minicpm_ocr_image,
        packed,
        lean=True,
    ),
    "Nemotron-H Omni": Kit(
        nemotron_config, "NemotronH_Omni_Reasoning_V3", nemotron_image, zoo.joined, lean=True
    ),
}
