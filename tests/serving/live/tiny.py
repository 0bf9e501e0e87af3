"""Tiny random models of the served families, with real processors, as folders that vLLM reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from stsprune.embedded.load import use_hub_names

SPECIAL = [
    "<pad>",
    "<s>",
    "</s>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<image>",
    "<video>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<img>",
    "</img>",
    "<IMG_CONTEXT>",
]
WORDS = [*SPECIAL, *(f"w{i}" for i in range(84))]
ID = {word: i for i, word in enumerate(WORDS)}
TEXT = {
    "vocab_size": len(WORDS),
    "hidden_size": 128,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "initializer_range": 0.15,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
}
VISION = {
    "hidden_size": 64,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "patch_size": 4,
}
QWEN = {
    "depth": 2,
    "num_heads": 2,
    "patch_size": 4,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}
ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]}
PINPOINTS = [[24, 48], [48, 24], [48, 48]]
TILED = {"image_grid_pinpoints": PINPOINTS, "image_token_index": ID["<image>"]}
QWEN_IDS = {
    "image_token_id": ID["<|image_pad|>"],
    "video_token_id": ID["<|video_pad|>"],
    "vision_start_token_id": ID["<|vision_start|>"],
    "vision_end_token_id": ID["<|vision_end|>"],
    "tie_word_embeddings": False,
}
QWEN_MARK = "<|vision_start|><|image_pad|><|vision_end|>"


def tokenizer(**named: str) -> Any:
    """One token per word."""
    core = Tokenizer(models.WordLevel(ID, unk_token="w0"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.add_special_tokens([AddedToken(text, normalized=False) for text in SPECIAL])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="w0",
        padding_side="left",
        extra_special_tokens=named,
        model_max_length=2048,
    )


def llava_next() -> tuple[Any, Any]:
    config = transformers.LlavaNextConfig(
        vision_config=transformers.CLIPVisionConfig(image_size=24, projection_dim=32, **VISION),
        text_config=transformers.LlamaConfig(**TEXT),
        **TILED,
    )
    sides = {"size": {"shortest_edge": 24}, "crop_size": {"height": 24, "width": 24}}
    images = transformers.LlavaNextImageProcessor(**sides, image_grid_pinpoints=PINPOINTS)
    processor = transformers.LlavaNextProcessor(
        images,
        tokenizer(image_token="<image>"),
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    return config, processor


def onevision() -> tuple[Any, Any]:
    config = transformers.LlavaOnevisionConfig(
        vision_config=transformers.SiglipVisionConfig(image_size=24, **VISION),
        text_config=transformers.Qwen2Config(**TEXT),
        video_token_index=ID["<video>"],
        vision_aspect_ratio="anyres_max_9",
        **TILED,
    )
    size = {"height": 24, "width": 24}
    processor = transformers.LlavaOnevisionProcessor(
        transformers.LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=PINPOINTS),
        tokenizer(image_token="<image>", video_token="<video>"),
        transformers.LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=36,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="anyres_max_9",
    )
    return config, processor


def qwen_processor(kind: str, video: str) -> Any:
    sizes = {"patch_size": 4, "merge_size": 2, "temporal_patch_size": 2}
    limits = {"size": {"shortest_edge": 16 * 16, "longest_edge": 64 * 64}}
    return getattr(transformers, kind)(
        transformers.Qwen2VLImageProcessor(**sizes, **limits),
        tokenizer(
            image_token="<|image_pad|>",
            video_token="<|video_pad|>",
            vision_start_token="<|vision_start|>",
            vision_end_token="<|vision_end|>",
        ),
        getattr(transformers, video)(**sizes),
    )


def qwen2() -> tuple[Any, Any]:
    config = transformers.Qwen2VLConfig(
        text_config={**TEXT, "rope_parameters": ROPE},
        vision_config={**QWEN, "embed_dim": 64, "hidden_size": 128, "mlp_ratio": 2},
        **QWEN_IDS,
    )
    return config, qwen_processor("Qwen2VLProcessor", "Qwen2VLVideoProcessor")


def qwen25() -> tuple[Any, Any]:
    config = transformers.Qwen2_5_VLConfig(
        text_config={**TEXT, "rope_parameters": ROPE},
        vision_config={
            **QWEN,
            "hidden_size": 64,
            "intermediate_size": 48,
            "out_hidden_size": 128,
            "window_size": 16,
            "fullatt_block_indexes": [1],
        },
        **QWEN_IDS,
    )
    return config, qwen_processor("Qwen2_5_VLProcessor", "Qwen2VLVideoProcessor")


def qwen3() -> tuple[Any, Any]:
    config = transformers.Qwen3VLConfig(
        text_config={
            **TEXT,
            "head_dim": 32,
            "rope_parameters": {**ROPE, "mrope_interleaved": True},
        },
        vision_config={
            **QWEN,
            "hidden_size": 64,
            "intermediate_size": 48,
            "out_hidden_size": 128,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1],
        },
        **QWEN_IDS,
    )
    return config, qwen_processor("Qwen3VLProcessor", "Qwen3VLVideoProcessor")


def internvl() -> tuple[Any, Any]:
    config = transformers.InternVLConfig(
        vision_config=transformers.InternVLVisionConfig(
            **{**VISION, "image_size": [24, 24], "patch_size": [4, 4]}
        ),
        text_config=transformers.Qwen2Config(**TEXT),
        image_token_id=ID["<IMG_CONTEXT>"],
        downsample_ratio=0.5,
    )
    size = {"height": 24, "width": 24}
    processor = transformers.InternVLProcessor(
        transformers.GotOcr2ImageProcessor(
            size=size, crop_to_patches=True, min_patches=1, max_patches=4
        ),
        tokenizer(
            start_image_token="<img>",
            end_image_token="</img>",
            context_image_token="<IMG_CONTEXT>",
            video_token="<video>",
        ),
        transformers.InternVLVideoProcessor(size=size),
        image_seq_length=9,
    )
    return config, processor


#: Family -> (how to make it, the mark of an image in a prompt).
TINY = {
    "LLaVA-NeXT": (llava_next, "<image>"),
    "LLaVA-OneVision": (onevision, "<image>"),
    "Qwen2-VL": (qwen2, QWEN_MARK),
    "Qwen2.5-VL": (qwen25, QWEN_MARK),
    "Qwen3-VL": (qwen3, QWEN_MARK),
    "InternVL": (internvl, "<IMG_CONTEXT>"),
}


def write(family: str, folder: Path) -> None:
    """Weights and processor of a family; deterministic."""
    config, processor = TINY[family][0]()
    torch.manual_seed(0)
    model = transformers.AutoModelForImageTextToText.from_config(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name and weight.ndim > 1 and "visual" in name:
                weight.normal_(std=0.15)  # tell places apart: the default makes all tokens alike
        model.get_output_embeddings().weight[: len(SPECIAL)] = 0  # words only
    model.save_pretrained(folder)
    if family.startswith("LLaVA"):
        use_hub_names(folder / "model.safetensors")
    processor.save_pretrained(folder)
