"""Architecture of the embedded model: a stock LlavaForConditionalGeneration, made small."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .scenes import PATCH
from .text import ASSISTANT, BOS, EOS, IMAGE, PAD, USER, vocabulary

#: Pixels are scaled to [-1, 1].
IMAGE_MEAN = (0.5, 0.5, 0.5)
IMAGE_STD = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Size:
    """Widths and depths of an embedded model."""

    grid: int
    tower_width: int
    tower_heads: int
    width: int
    inner: int
    tower_layers: int = 6
    layers: int = 8


SMALL = Size(grid=12, tower_width=128, tower_heads=4, width=192, inner=384)
LARGE = Size(grid=24, tower_width=160, tower_heads=5, width=192, inner=512)


def build_config(size: Size = SMALL, words: list[str] | None = None) -> Any:
    """LlavaConfig with grid * grid visual tokens, taken like LLaVA-1.5's from layer -2."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

    words = words or vocabulary()
    vision = CLIPVisionConfig(
        image_size=size.grid * PATCH,
        patch_size=PATCH,
        hidden_size=size.tower_width,
        intermediate_size=4 * size.tower_width,
        num_hidden_layers=size.tower_layers,
        num_attention_heads=size.tower_heads,
        projection_dim=size.tower_width,
        hidden_act="gelu_pytorch_tanh",
    )
    text = LlamaConfig(
        vocab_size=len(words),
        hidden_size=size.width,
        intermediate_size=size.inner,
        num_hidden_layers=size.layers,
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


def build_model(
    size: Size = SMALL, seed: int = 0, words: list[str] | None = None, answer: int = 4
) -> Any:
    """The model with fresh weights, deterministic in `seed`; answer: its longest, in tokens."""
    import torch
    from transformers import LlavaForConditionalGeneration

    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(build_config(size, words))
    model.generation_config.max_new_tokens = answer
    return model


#: What stands before the visual tokens: `<s> USER:`, the same ids in every embedded model.
PROMPT_IDS = [vocabulary().index(BOS), vocabulary().index(USER)]
ASSISTANT_ID = vocabulary().index(ASSISTANT)
EOS_ID = vocabulary().index(EOS)
