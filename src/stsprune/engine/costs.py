"""What a pruned prefill costs in theory: tokens per layer, FLOPs, bytes of KV cache."""

from __future__ import annotations

from typing import Any

from stsprune.method.base import Plan


def tokens_per_layer(plan: Plan, tokens: int, depth: int) -> list[int]:
    """Visual tokens that each decoder layer computes, for an image of `tokens`."""
    held = tokens if plan.structure is None else plan.structure
    drops, counts = dict(plan.semantics), []
    for layer in range(depth):
        counts.append(held)
        held = drops.get(layer, held)
    return counts


def prefill_flops(config: Any, lengths: list[int]) -> int:
    """Multiplications and additions of the decoder's matrix products for one prompt.

    config: the text model's; lengths: tokens (text and visual) per decoder layer. Attention counts
    the whole T x T product, as fused kernels without a causal shortcut do; the vocabulary's
    product counts for the last token only.
    """
    hidden, heads, kv_heads, width = _attention(config)
    inner = config.intermediate_size
    total = 0
    for length in lengths:
        projections = 2 * hidden * width * (2 * heads + 2 * kv_heads)
        feed_forward = 2 * 3 * hidden * inner
        total += length * (projections + feed_forward) + 4 * length * length * heads * width
    return total + 2 * hidden * config.vocab_size


def kv_cache_bytes(config: Any, lengths: list[int], bytes_per_number: int) -> int:
    """Bytes of keys and values of one prompt; lengths: tokens per decoder layer."""
    _, _, kv_heads, width = _attention(config)
    return sum(lengths) * 2 * kv_heads * width * bytes_per_number


def _attention(config: Any) -> tuple[int, int, int, int]:
    hidden, heads = config.hidden_size, config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    return hidden, heads, kv_heads, getattr(config, "head_dim", None) or hidden // heads
