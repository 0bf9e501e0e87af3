"""A tiny random LLaVA and prompts for it."""

from __future__ import annotations

import torch

GRID, IMAGE, PAD, VOCABULARY, DEPTH = 5, 60, 0, 64, 6


def make_llava(attention: str = "sdpa", seed: int = 0):
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
    )

    torch.manual_seed(seed)
    vision = CLIPVisionConfig(
        image_size=GRID * 4,
        patch_size=4,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=2,
        projection_dim=32,
    )
    text = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=DEPTH,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.25,
        pad_token_id=PAD,
        bos_token_id=1,
        eos_token_id=2,
    )
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=IMAGE)
    config._attn_implementation = attention
    model = LlavaForConditionalGeneration(config).eval()
    model.lm_head.weight.data[IMAGE] = 0  # never the argmax: the reference would see an image
    model.generation_config.pad_token_id = PAD
    model.generation_config.eos_token_id = None
    with torch.no_grad():  # transformers hooks models itself at their first call
        model(**make_inputs([["image", 2]]))
    return model


def make_inputs(rows, seed: int = 0):
    """rows: lists of parts, "image" or a number of text tokens; padded on the left."""
    random = torch.Generator().manual_seed(seed)
    prompts, images = [], 0
    for row in rows:
        ids = []
        for part in row:
            if part == "image":
                ids += [IMAGE] * GRID**2
                images += 1
            else:
                ids += torch.randint(3, IMAGE, (part,), generator=random).tolist()
        prompts.append(ids)
    width = max(map(len, prompts))
    inputs = {
        "input_ids": torch.tensor([[PAD] * (width - len(p)) + p for p in prompts]),
        "attention_mask": torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts]),
    }
    if images:
        inputs["pixel_values"] = torch.randn(images, 3, GRID * 4, GRID * 4, generator=random)
    return inputs
