"""Ways of running a model that pruning would get wrong, refused before any work is done."""

from __future__ import annotations

from typing import Any

from stsprune.errors import UnsupportedModeError

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
