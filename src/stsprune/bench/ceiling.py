"""What the device can do at best, measured, and what that allows a prefill."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from stsprune.engine.costs import layer_weights, prefill_flops

from .contest import Workload
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


def least_time(
    config: Any, lengths: list[int], batch: int, bytes_per_number: int, ceiling: Ceiling
) -> tuple[float, str]:
    """Milliseconds below which the decoder's prefill cannot get, and what binds it.

    Its FLOPs at the peak rate ("compute"), or its weights read once ("memory"). lengths: tokens per
    decoder layer of each of `batch` equal prompts.
    """
    flops = batch * prefill_flops(config, lengths)
    weights = len(lengths) * layer_weights(config) + config.hidden_size * config.vocab_size
    compute = 1000 * flops / ceiling.flops
    memory = 1000 * weights * bytes_per_number / ceiling.bytes
    return max(compute, memory), "compute" if compute >= memory else "memory"


def least_times(
    model: Any, budgets: Iterable[int], batches: Iterable[int], ceiling: Ceiling
) -> list[dict[str, Any]]:
    """`least_time` of the unpruned prompt and of the floors, per batch."""
    workload, out = Workload.of(model, 1, 2), []
    whole = workload.inputs(workload.tokens)["input_ids"].shape[1]
    for batch in batches:
        for tokens in (workload.tokens, *budgets):
            lengths = [whole - workload.tokens + tokens] * workload.config.num_hidden_layers
            least, bound = least_time(
                workload.config, lengths, batch, model.dtype.itemsize, ceiling
            )
            out.append({"batch": batch, "tokens": tokens, "least": least, "bound": bound})
    return out
