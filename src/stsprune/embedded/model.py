"""Architecture of the embedded model: a stock LlavaForConditionalGeneration, made small."""

from __future__ import annotations

from typing import Any

from .scenes import PATCH
from .text import ASSISTANT, BOS, EOS, IMAGE, PAD, USER, vocabulary

#: Pixels are scaled to [-1, 1].
IMAGE_MEAN = (0.5, 0.5, 0.5)
IMAGE_STD = (0.5, 0.5, 0.5)


def build_config(grid: int = 12) -> Any:
    """LlavaConfig with grid * grid visual tokens, taken like LLaVA-1.5's from layer -2."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

    words = vocabulary()
    vision = CLIPVisionConfig(
        image_size=grid * PATCH,
        patch_size=PATCH,
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=4,
        projection_dim=128,
        hidden_act="gelu_pytorch_tanh",
    )
    text = LlamaConfig(
        vocab_size=len(words),
        hidden_size=192,
        intermediate_size=384,
        num_hidden_layers=8,
        num_attention_heads=6,
        num_key_value_heads=3,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        pad_token_id=words.index(PAD),
        bos_token_id=words.index(BOS),
        eos_token_id=words.index(EOS),
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=words.index(IMAGE),
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        projector_hidden_act="gelu",
        tie_word_embeddings=True,
    )


def build_model(grid: int = 12, seed: int = 0) -> Any:
    """The model with fresh weights, deterministic in `seed`."""
    import torch
    from transformers import LlavaForConditionalGeneration

    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(build_config(grid))
    model.generation_config.max_new_tokens = 4
    return model


#: What stands before the visual tokens: `<s> USER:`
PROMPT_IDS = [vocabulary().index(BOS), vocabulary().index(USER)]
ASSISTANT_ID = vocabulary().index(ASSISTANT)
EOS_ID = vocabulary().index(EOS)
