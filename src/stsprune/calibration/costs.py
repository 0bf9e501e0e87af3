"""What a method costs on the clock and in the KV cache, against unpruned in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

import torch

from ..engine import cache_bytes, prune
from ..engine.compat import CACHE
from ..method import Method
from .inputs import encode
from .prompts import Prompt

#: Prompts that are timed, and turns that each takes: the best one counts, others were disturbed.
TIMED, TURNS = 6, 3


@dataclass(frozen=True)
class Cost:
    """One prompt at a time, encoder and selection included.

    ms: median time to the first token; kv_bytes: of keys and values after the prompt, mean; time,
    kv: shares of the unpruned model's.
    """

    ms: float
    kv_bytes: float
    time: float
    kv: float


@torch.inference_mode()
def measure_costs(
    model: Any,
    processor: Any,
    prompts: Sequence[Prompt],
    methods: Sequence[Method],
    positions: str = "original",
    advance: Callable[[int], object] = lambda n: None,
    family: str | None = None,
) -> tuple[Cost, list[Cost]]:
    """The unpruned model's cost and each method's, over up to `TIMED` of the prompts."""
    contestants: list[Method | None] = [None, *methods]
    seconds: list[list[float]] = [[] for _ in contestants]
    sizes: list[list[int]] = [[] for _ in contestants]
    for number, prompt in enumerate(prompts[:TIMED]):
        inputs = encode(model, processor, [prompt])
        for place, method in enumerate(contestants):
            pruned = prune(model, method, positions=positions, family=family) if method else None
            with pruned or nullcontext():
                if not number:
                    model(**inputs, use_cache=True, logits_to_keep=1)  # warm-up
                turns = []
                for _ in range(TURNS):
                    start = _now(model)
                    out = model(**inputs, use_cache=True, logits_to_keep=1)
                    turns.append(_now(model) - start)
                seconds[place].append(min(turns))
            sizes[place].append(cache_bytes(getattr(out, CACHE)))
            advance(1)
    whole, longest = fmean(sizes[0]), median(seconds[0])
    costs = [
        Cost(
            ms=1000 * median(times),
            kv_bytes=fmean(held),
            time=median(times) / longest,
            kv=fmean(held) / whole,
        )
        for times, held in zip(seconds, sizes, strict=True)
    ]
    return costs[0], costs[1:]


def _now(model: Any) -> float:
    if model.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
