"""Ways of running a model that pruning would get wrong, refused before any work is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from stsprune.errors import InvalidTypeError, UnsupportedModeError

#: generate() settings -> what must not be set, and why
_REFUSED = {
    "assistant_model": "assisted decoding verifies several tokens in the prompt's own pass",
    "prompt_lookup_num_tokens": "prompt lookup decoding adds candidates to the prompt's own pass",
    "assistant_early_exit": "assisted decoding verifies several tokens in the prompt's own pass",
    "cache_implementation": "only the dynamic cache can hold layers of different length",
    "prefill_chunk_size": "a prompt must be read in one pass to be pruned",
}


def check_model(model: Any) -> None:
    """Pruning is for inference. Raises UnsupportedModeError."""
    if model.training:
        raise UnsupportedModeError("model must be in eval mode: call model.eval() first")
    shards = getattr(model, "_tp_size", None) or 1
    if shards > 1:
        raise UnsupportedModeError(
            f"model must not be split by tensor parallelism (tp_size={shards}): each process sees "
            "its own heads only and would keep other tokens; use device_map instead"
        )


def check_attention(config: Any) -> None:
    """Backends whose masks the engine can make. Raises UnsupportedModeError."""
    backend = config._attn_implementation
    if backend not in ("eager", "sdpa") and "flash" not in backend:
        raise UnsupportedModeError(
            "attn_implementation must be 'sdpa', 'eager' or a FlashAttention one, got "
            f"{backend!r}: model.set_attn_implementation('sdpa')"
        )

    scaled = "llama_4_scaling_beta" in (getattr(config, "rope_parameters", None) or {})
    if scaled and "flash" in backend:
        raise UnsupportedModeError(
            f"attn_implementation must be 'sdpa' or 'eager' for {config.model_type}, got "
            f"{backend!r}: it scales queries by positions, whose gaps FlashAttention would read as "
            "packed sequences"
        )


def check_inputs(arguments: Mapping[str, Any]) -> None:
    """Types of the tensors that a model is called with. Raises InvalidTypeError."""
    for name in ("input_ids", "attention_mask"):
        value = arguments.get(name)
        if value is None:
            continue
        if not isinstance(value, torch.Tensor):
            raise InvalidTypeError(f"{name} must be a tensor, got {type(value).__name__}")
        if name == "input_ids" and (value.is_floating_point() or value.ndim != 2):
            raise InvalidTypeError(
                f"input_ids must be integers [B, T], got {value.dtype} {list(value.shape)}"
            )
    for name in ("pixel_values", "pixel_values_videos"):
        value = arguments.get(name)
        if isinstance(value, torch.Tensor) and not value.is_floating_point():
            raise InvalidTypeError(
                f"{name} must be floating point (what the processor gives), got {value.dtype}"
            )


def check_generate(model: Any, arguments: dict[str, Any]) -> None:
    """Refuse generate() modes that would be silently wrong. Raises UnsupportedModeError."""
    config = arguments.get("generation_config") or model.generation_config
    for name, reason in _REFUSED.items():
        value = arguments.get(name, getattr(config, name, None))
        if value is None or (name == "cache_implementation" and value == "dynamic"):
            continue
        raise UnsupportedModeError(f"generate({name}={value!r}) cannot be pruned: {reason}")
    if arguments.get("use_cache", getattr(config, "use_cache", True)) is False:
        raise UnsupportedModeError(
            "generate(use_cache=False) cannot be pruned: each step would read the prompt anew"
        )
    if arguments.get("inputs_embeds") is not None:
        raise UnsupportedModeError(
            "generate(inputs_embeds=...) cannot be pruned: give input_ids and pixel_values"
        )
