"""One tiny random model per family, from the real config classes, and prompts for it.

A new adapter joins the proof by a `Kit` in `KITS`, here or in another zoo_*.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import product
from typing import Any

import torch
import transformers
import zoo_grids
import zoo_squares
import zoo_views
from kit import (
    BREAK,
    DEPTH,
    END,
    IDS,
    IMAGE,
    PAD,
    START,
    TEXT,
    VIDEO,
    VISION,
    VOCABULARY,
    WORDS,
    Kit,
    Picture,
    joined,
    padded,
    pixels,
    tile_stacks,
    tiled_image,
)
from releases import BROKEN

from stsprune.engine.compat import MASKS_PER_LAYER, older_than
from stsprune.engine.families import FAMILIES, family_of
from stsprune.engine.layout import NO_IDS

__all__ = [
    "DEPTH",
    "IMAGE",
    "KITS",
    "PATTERNED",
    "TEXT",
    "VIDEO",
    "VOCABULARY",
    "WINDOWED",
    "WORDS",
    "Kit",
    "enough",
    "joined",
    "shared",
]


# --- LLaVA-1.5, also over a sliding-window decoder and over Pixtral's encoder


def llava_config(text: Any = None) -> Any:
    return transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(image_size=20, projection_dim=32, **VISION),
        text_config=text or transformers.LlamaConfig(**TEXT),
        image_token_index=IMAGE,
    )


def sliding_llava_config() -> Any:
    return llava_config(transformers.MistralConfig(sliding_window=20, **TEXT))


def llava_image(model: Any, number: int, random: torch.Generator) -> Picture:
    return Picture([IMAGE] * 25, {"pixel_values": pixels(random, 1, 3, 20, 20)})


def pixtral_vision() -> Any:
    return transformers.PixtralVisionConfig(image_size=32, head_dim=16, **VISION)


def pixtral_llava_config() -> Any:
    return transformers.LlavaConfig(
        vision_config=pixtral_vision(),
        text_config=transformers.MistralConfig(sliding_window=None, **TEXT),
        image_token_index=IMAGE,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )


PIXTRAL_SIZES = [(24, 32), (32, 16), (16, 24)]


def pixtral_image(cell: int) -> Callable[..., Picture]:
    def make(model: Any, number: int, random: torch.Generator) -> Picture:
        height, width = PIXTRAL_SIZES[number % 3]
        row = [IMAGE] * (width // cell) + [BREAK]
        ids = row * (height // cell)
        picture = torch.zeros(1, 3, 32, 32)
        picture[:, :, :height, :width] = pixels(random, 1, 3, height, width)
        sizes = torch.tensor([[height, width]])
        return Picture([*ids[:-1], END], {"pixel_values": picture, "image_sizes": sizes})

    return make


def mistral_config() -> Any:
    return transformers.Mistral3Config(
        vision_config=pixtral_vision(),
        text_config=transformers.MistralConfig(sliding_window=None, **TEXT),
        image_token_index=IMAGE,
        spatial_merge_size=2,
        vision_feature_layer=-1,
    )


#: Queries are scaled by their position from 8 on, so that a wrong position shows.
SCALED = {
    "type": "yarn",
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 8,
    "max_position_embeddings": 1024,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "llama_4_scaling_beta": 0.5,
}


def over_mistral(text: Any) -> Any:
    config = mistral_config()
    return transformers.Mistral3Config(
        vision_config=config.vision_config,
        text_config=text,
        image_token_index=IMAGE,
        spatial_merge_size=2,
        vision_feature_layer=-1,
    )


def ministral_config() -> Any:
    return over_mistral(
        transformers.Ministral3Config(
            sliding_window=None, head_dim=12, rope_parameters=dict(SCALED), **TEXT
        )
    )


def mistral4_config() -> Any:
    text = TEXT | {"num_key_value_heads": 4, "initializer_range": 0.1}
    experts = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
    latent = {"kv_lora_rank": 16, "q_lora_rank": 16, "v_head_dim": 12}
    heads = {"qk_rope_head_dim": 8, "qk_nope_head_dim": 8}
    return over_mistral(
        transformers.Mistral4Config(
            rope_parameters=dict(SCALED), **text, **experts, **latent, **heads
        )
    )


# --- any resolution

ANYRES_SIZES = [(30, 40), (22, 44), (48, 17)]
PINPOINTS = [[24, 48], [48, 24], [48, 48]]


def anyres_image(model: Any, number: int, random: torch.Generator) -> Picture:
    sizes = torch.tensor([ANYRES_SIZES[number % 3]])
    tiles = 4 if number % 3 == 0 else 2
    shape = family_of(model).visuals(model, "image", {"image_sizes": sizes}, NO_IDS)[0]
    # The model itself refuses a wrong number of placeholders.
    return Picture(
        [IMAGE] * shape.length,
        {"pixel_values": pixels(random, 1 + tiles, 3, 24, 24), "image_sizes": sizes},
    )


def anyres_collate(pictures: list[list[Picture]]) -> dict[str, Any]:
    flat = [p.tensors for row in pictures for p in row]
    out: dict[str, Any] = {}
    images = [t for t in flat if "pixel_values" in t]
    if images:
        out["pixel_values"] = padded([t["pixel_values"] for t in images])
        out["image_sizes"] = torch.cat([t["image_sizes"] for t in images])
    videos = [t["pixel_values_videos"] for t in flat if "pixel_values_videos" in t]
    if videos:
        out["pixel_values_videos"] = torch.cat(videos)
    return out


def next_config(kind: str = "LlavaNextConfig", **more: Any) -> Any:
    return getattr(transformers, kind)(
        vision_config=transformers.CLIPVisionConfig(image_size=24, projection_dim=32, **VISION),
        text_config=transformers.LlamaConfig(**TEXT),
        image_grid_pinpoints=PINPOINTS,
        image_token_index=IMAGE,
        **more,
    )


def granite4_config() -> Any:
    """Tiles of 6 x 6 patches become 3 x 3 tokens; nothing but text enters the decoder."""
    return transformers.Granite4VisionConfig(
        # The window transformer has a head per 64 numbers.
        vision_config=transformers.CLIPVisionConfig(
            image_size=24, projection_dim=32, **VISION | {"hidden_size": 64}
        ),
        text_config=transformers.Granite4VisionTextConfig(
            **TEXT, attention_multiplier=0.3, embedding_multiplier=2.0
        ),
        qformer_config={
            "num_hidden_layers": 1,
            "intermediate_size": 64,
            "cross_attention_frequency": 1,
            "max_position_embeddings": 64,
            "use_qformer_text_input": False,
        },
        image_grid_pinpoints=PINPOINTS,
        image_token_index=IMAGE,
        downsample_rate="1/2",
        deepstack_layer_map=[[-2, 0]],
        spatial_target_layers=[1, 2, 4, 5],
    )


def next_video_config() -> Any:
    return next_config("LlavaNextVideoConfig", video_token_index=VIDEO, spatial_pool_stride=2)


def next_video(model: Any, number: int, random: torch.Generator) -> Picture:
    return Picture([VIDEO] * 27, {"pixel_values_videos": pixels(random, 1, 3, 3, 24, 24)})


def onevision_config() -> Any:
    return transformers.LlavaOnevisionConfig(
        vision_config=transformers.SiglipVisionConfig(image_size=24, **VISION),
        text_config=transformers.Qwen2Config(**TEXT),
        image_grid_pinpoints=PINPOINTS,
        vision_aspect_ratio="anyres_max_2",  # so that 48 x 48 is scaled down
        **IDS,
    )


def onevision_video(model: Any, number: int, random: torch.Generator) -> Picture:
    return Picture([VIDEO] * 28, {"pixel_values_videos": pixels(random, 1, 3, 3, 24, 24)})


# --- Qwen

QWEN_GRIDS = [(1, 6, 8), (1, 8, 4), (1, 4, 6)]
ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 2, 2]}
QWEN_VISION = {
    "depth": 2,
    "num_heads": 2,
    "patch_size": 4,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}


def qwen2_config() -> Any:
    return transformers.Qwen2VLConfig(
        text_config={**TEXT, "rope_parameters": ROPE},
        vision_config={**QWEN_VISION, "embed_dim": 32, "hidden_size": 48, "mlp_ratio": 2},
        vision_start_token_id=START,
        vision_end_token_id=END,
        **IDS,
    )


def qwen25_config() -> Any:
    return transformers.Qwen2_5_VLConfig(
        text_config={**TEXT, "rope_parameters": ROPE},
        vision_config={
            **QWEN_VISION,
            "hidden_size": 32,
            "intermediate_size": 48,
            "out_hidden_size": 48,
            "window_size": 16,
            "fullatt_block_indexes": [1],
        },
        vision_start_token_id=START,
        vision_end_token_id=END,
        **IDS,
    )


def qwen3_config(kind: str = "Qwen3VLConfig", **more: Any) -> Any:
    return getattr(transformers, kind)(
        text_config={**TEXT, "head_dim": 12, "rope_parameters": ROPE, **more},
        vision_config={
            **QWEN_VISION,
            "hidden_size": 32,
            "intermediate_size": 48,
            "out_hidden_size": 48,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1],
        },
        vision_start_token_id=START,
        vision_end_token_id=END,
        **IDS,
    )


def qwen3_moe_config() -> Any:
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
    return qwen3_config("Qwen3VLMoeConfig", **experts)


def qwen_image(model: Any, number: int, random: torch.Generator) -> Picture:
    grid = QWEN_GRIDS[number % 3]
    patches = grid[0] * grid[1] * grid[2]
    ids = [START] + [IMAGE] * (patches // 4) + [END]
    values = pixels(random, patches, 3 * 2 * 4 * 4)
    return Picture(ids, {"pixel_values": values, "image_grid_thw": torch.tensor([grid])})


def qwen_video(model: Any, number: int, random: torch.Generator) -> Picture:
    grid = (3, 4, 4)
    ids = [START] + [VIDEO] * 12 + [END]
    values = pixels(random, 48, 3 * 2 * 4 * 4)
    tensors = {"pixel_values_videos": values, "video_grid_thw": torch.tensor([grid])}
    return Picture(ids, tensors)


def qwen3_video(model: Any, number: int, random: torch.Generator) -> Picture:
    """Frames stand apart, a time stamp before each."""
    picture = qwen_video(model, number, random)
    picture.ids = [token for t in range(3) for token in (5 + t, START, *[VIDEO] * 4, END)]
    return picture


# --- tiles


def internvl_config() -> Any:
    return transformers.InternVLConfig(
        vision_config=transformers.InternVLVisionConfig(
            **{**VISION, "image_size": [24, 24], "patch_size": [4, 4]}
        ),
        text_config=transformers.Qwen2Config(**TEXT),
        image_token_id=IMAGE,
        image_seq_length=9,
        downsample_ratio=0.5,
    )


def internvl_image(model: Any, number: int, random: torch.Generator) -> Picture:
    tiles = (3, 1, 4)[number % 3]
    values = pixels(random, tiles, 3, 24, 24)
    return Picture([START] + [IMAGE] * 9 * tiles + [END], {"pixel_values": values})


def idefics_config(kind: str = "Idefics3Config") -> Any:
    vision = {"Idefics3Config": "Idefics3VisionConfig", "SmolVLMConfig": "SmolVLMVisionConfig"}
    return getattr(transformers, kind)(
        vision_config=getattr(transformers, vision[kind])(image_size=24, **VISION),
        text_config=transformers.LlamaConfig(**TEXT),
        image_token_id=IMAGE,
        scale_factor=2,
        pad_token_id=PAD,
    )


def smolvlm_config() -> Any:
    return idefics_config("SmolVLMConfig")


# --- Gemma 3


def gemma_config() -> Any:
    kinds = ["sliding_attention", "sliding_attention", "full_attention"] * 2
    return transformers.Gemma3Config(
        vision_config=transformers.SiglipVisionConfig(image_size=24, **VISION),
        text_config=transformers.Gemma3TextConfig(
            **TEXT, head_dim=12, sliding_window=14, layer_types=kinds, query_pre_attn_scalar=12
        ),
        mm_tokens_per_image=9,
        image_token_id=IMAGE,
        boi_token_index=START,
        eoi_token_index=END,
    )


def gemma_image(model: Any, number: int, random: torch.Generator) -> Picture:
    ids = [START] + [IMAGE] * 9 + [END]
    return Picture(ids, {"pixel_values": pixels(random, 1, 3, 24, 24)})


QWEN = {"image": qwen_image, "collate": joined, "kinds": "mm_token_type_ids"}
KITS: dict[str, Kit] = {
    "LLaVA-1.5": Kit(llava_config, "LlavaForConditionalGeneration", llava_image, joined),
    "LLaVA-1.5 sliding": Kit(
        sliding_llava_config, "LlavaForConditionalGeneration", llava_image, joined
    ),
    "LLaVA-1.5 Pixtral": Kit(
        pixtral_llava_config, "LlavaForConditionalGeneration", pixtral_image(4), joined
    ),
    "LLaVA-NeXT": Kit(
        next_config, "LlavaNextForConditionalGeneration", anyres_image, anyres_collate
    ),
    "LLaVA-NeXT-Video": Kit(
        next_video_config,
        "LlavaNextVideoForConditionalGeneration",
        anyres_image,
        anyres_collate,
        next_video,
    ),
    "LLaVA-OneVision": Kit(
        onevision_config,
        "LlavaOnevisionForConditionalGeneration",
        anyres_image,
        anyres_collate,
        onevision_video,
    ),
    "Qwen2-VL": Kit(qwen2_config, "Qwen2VLForConditionalGeneration", video=qwen_video, **QWEN),
    "Qwen2.5-VL": Kit(
        qwen25_config, "Qwen2_5_VLForConditionalGeneration", video=qwen_video, **QWEN
    ),
    "Qwen3-VL": Kit(qwen3_config, "Qwen3VLForConditionalGeneration", video=qwen3_video, **QWEN),
    "Qwen3-VL-MoE": Kit(
        qwen3_moe_config, "Qwen3VLMoeForConditionalGeneration", video=qwen3_video, **QWEN
    ),
    "InternVL 3": Kit(internvl_config, "InternVLForConditionalGeneration", internvl_image, joined),
    "Idefics3": Kit(
        idefics_config, "Idefics3ForConditionalGeneration", tiled_image((2, 3)), tile_stacks
    ),
    "SmolVLM": Kit(
        smolvlm_config, "SmolVLMForConditionalGeneration", tiled_image((2, 3)), tile_stacks
    ),
    "Gemma 3": Kit(
        gemma_config,
        "Gemma3ForConditionalGeneration",
        gemma_image,
        joined,
        kinds="token_type_ids",
    ),
    "Mistral 3": Kit(mistral_config, "Mistral3ForConditionalGeneration", pixtral_image(8), joined),
    "Mistral 3, Ministral 3": Kit(
        ministral_config, "Mistral3ForConditionalGeneration", pixtral_image(8), joined
    ),
    "Mistral 3, Mistral 4": Kit(
        mistral4_config, "Mistral3ForConditionalGeneration", pixtral_image(8), joined
    ),
}

GRANITE = {
    "Granite 4 Vision": Kit(
        granite4_config,
        "Granite4VisionForConditionalGeneration",
        anyres_image,
        anyres_collate,
        lean=True,
        beams=False,
    )
}

from zoo_gemma4 import GEMMA4  # noqa: E402
from zoo_hybrids import HYBRIDS  # noqa: E402

#: A class that an older transformers does not have is left out there, and all of these before 5.19.
NEWER = HYBRIDS | GEMMA4 | GRANITE if MASKS_PER_LAYER else {}
KITS |= {
    name: kit
    for name, kit in NEWER.items()
    if hasattr(transformers, kit.model) and not older_than(FAMILIES[kit.model].since)
}

for rows in (zoo_grids.KITS, zoo_squares.KITS, zoo_views.KITS):
    # What this release of transformers does not have yet is proven on those that do.
    KITS |= {
        name: kit
        for name, kit in rows.items()
        if hasattr(transformers, kit.model)
        and kit.model not in BROKEN
        and not older_than(FAMILIES[kit.model].since)
    }


#: Kits with a sliding window shorter than their prompts.
SLIDING = tuple(
    name
    for name in (
        "LLaVA-1.5 sliding",
        "Gemma 3",
        "LFM3-VL",
        *GEMMA4,
        "EXAONE 4.5",
        "Muse Glimmer",
        "Muse Spark",
        "PaliGemma 2",
        "Cohere Compass",
        "Cohere 2 Vision",
        "Aya Vision",
        "Idefics2",
        "Step 3.7",
    )
    if name in KITS
)

#: Kits whose masks no FlashAttention can express: windows, and blocks in full layers.
PATTERNED = (*SLIDING, *(name for name in ("PaliGemma", "Molmo 2") if name in KITS))
#: Kits that refuse reusable=True: windows, and chunks.
WINDOWED = (*SLIDING, *(name for name in ("Llama 4",) if name in KITS))


def enough(*parts: Sequence[Any]) -> list[tuple[Any, ...]]:
    """(kit, ...) of a product; of lean kits the last choice of every part alone."""
    last = tuple(part[-1] for part in parts[1:])
    return [case for case in product(*parts) if not KITS[case[0]].lean or case[1:] == last]


@cache
def shared(name: str, attention: str = "sdpa") -> Any:
    """One model per family and backend for a whole run; tests must leave it as it was."""
    return KITS[name].build(attention)
