"""What the device can do at best, measured, and what that allows a prefill."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

import torch

from stsprune.engine.costs import layer_weights, prefill_flops

from .timing import clock


@dataclass(frozen=True)
class Ceiling:
    """Peak rates: FLOP/s of a large matrix product, bytes/s of a large copy (read and written)."""

    flops: float
    bytes: float


def measure(device: str, dtype: torch.dtype) -> Ceiling:
    """Median of several runs after a warm-up."""
    cuda = torch.device(device).type == "cuda"
    side, size = (8192, 2**31) if cuda else (1536, 2**27)
    a = torch.randn(side, side, device=device, dtype=dtype)
    b = torch.randn(side, side, device=device, dtype=dtype)
    product = torch.empty_like(a)
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    return Ceiling(
        2 * side**3 / _seconds(lambda: torch.mm(a, b, out=product), device),
        2 * size / _seconds(lambda: target.copy_(source), device),
    )


def _seconds(run: Any, device: str) -> float:
    times = [clock(run, device) for _ in range(12)]
    return statistics.median(times[2:]) / 1000


def least_milliseconds(
    config: Any, lengths: list[int], batch: int, bytes_per_number: int, ceiling: Ceiling
) -> float:
    """The decoder's prefill cannot be faster: its FLOPs at peak, or its weights read once.

    lengths: tokens per decoder layer of each of `batch` equal prompts.
    """
    flops = batch * prefill_flops(config, lengths)
    weights = len(lengths) * layer_weights(config) + config.hidden_size * config.vocab_size
    return 1000 * max(flops / ceiling.flops, weights * bytes_per_number / ceiling.bytes)
