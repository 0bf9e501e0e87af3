"""A LLaVA with 576 visual tokens and random weights: the costs of LLaVA-1.5, made small.

The decoder's matrices are 21 times the encoder's, as in LLaVA-1.5-7B (6.5 against 0.3 billion); the
answers mean nothing.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

GRID = 24
TEXT = {
    "hidden_size": 512,
    "intermediate_size": 1408,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "head_dim": 64,
}


def write_wide(folder: Path) -> None:
    """Weights and processor as vLLM reads them; deterministic."""
    import torch
    from transformers import LlavaForConditionalGeneration

    from stsprune.embedded.load import build_processor, use_hub_names
    from stsprune.embedded.model import SMALL, build_config
    from stsprune.embedded.text import BOS, CHAT_TEMPLATE

    config = build_config(replace(SMALL, grid=GRID))
    config.text_config.update(TEXT)
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config)
    model.save_pretrained(folder)
    build_processor(model).save_pretrained(folder)
    use_hub_names(folder / "model.safetensors")
    (folder / "chat_template.jinja").write_text(BOS + CHAT_TEMPLATE)
