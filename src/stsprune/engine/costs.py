"""What a pruned prefill costs in theory: FLOPs, bytes of weights and KV cache."""

from __future__ import annotations

from typing import Any


def layer_flops(config: Any, length: int) -> int:
    """Multiplications and additions of one decoder layer's matrix products for one sequence.

    config: the text model's. Attention counts the whole T x T product, as fused kernels without a
    causal shortcut do.
    """
    _, heads, _, width = _attention(config)
    return 2 * length * layer_weights(config) + 4 * length * length * heads * width


def layer_weights(config: Any) -> int:
    """Numbers in the weight matrices of one decoder layer (dense, with a gated feed-forward)."""
    hidden, heads, kv_heads, width = _attention(config)
    return hidden * width * (2 * heads + 2 * kv_heads) + 3 * hidden * config.intermediate_size


def prefill_flops(config: Any, lengths: list[int]) -> int:
    """FLOPs of the decoder for one prompt: `layer_flops` and the vocabulary's product.

    lengths: tokens (text and visual) per decoder layer; the last token alone gets logits.
    """
    total = sum(layer_flops(config, length) for length in lengths)
    return total + 2 * config.hidden_size * config.vocab_size


def kv_cache_bytes(config: Any, lengths: list[int], bytes_per_number: int) -> int:
    """Bytes of keys and values of one prompt; lengths: tokens per decoder layer."""
    _, _, kv_heads, width = _attention(config)
    return sum(lengths) * 2 * kv_heads * width * bytes_per_number


def selection_flops(tokens: int, width: int) -> int:
    """FLOPs of repulsion's N x N product for one image; all else is small beside it."""
    return 2 * tokens * tokens * width


def _attention(config: Any) -> tuple[int, int, int, int]:
    hidden, heads = config.hidden_size, config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    return hidden, heads, kv_heads, getattr(config, "head_dim", None) or hidden // heads
