"""How large the KV cache behind a pruned prompt must be, by the method's plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from stsprune.engine import Trace
from stsprune.method.base import Method, tokens_per_layer


def planned_bytes(
    method: Method, trace: Trace, mask: Tensor, whole: Any, scoring: Sequence[int]
) -> int:
    """Bytes of keys and values: tokens that the plan leaves in each layer, at their own size.

    trace: tells the images' sizes only, and their budgets where these follow from the images; mask
    [B, T]: of the prompt; whole: the KV cache of the unpruned prompt, whose `layers` (decoder layer
    -> keys and values) show what a token takes there and how many a sliding window holds; scoring:
    see `Method.plan_on`.
    """
    lengths = planned_lengths(method, trace, mask, whole.depth, scoring)
    total = 0
    for number, layer in whole.layers.items():
        length = lengths[number]
        width = layer.keys.shape[-2]
        total += min(length, width) * (layer.keys.nbytes + layer.values.nbytes) // width
    return total


def planned_lengths(
    method: Method, trace: Trace, mask: Tensor, depth: int, scoring: Sequence[int]
) -> list[int]:
    """Tokens of the widest row in each decoder layer."""
    rows = [[count] * depth for count in mask.sum(1).tolist()]
    for image in trace.images:
        planned = method if image.budget is None else method.fixed(image.budget)
        plan = planned.plan_on(image.tokens, depth, scoring)
        counts = tokens_per_layer(plan, image.tokens, depth)
        for layer, count in enumerate(counts):
            rows[image.row][layer] -= image.tokens - count
    return [max(layer) for layer in zip(*rows, strict=True)]
