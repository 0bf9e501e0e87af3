"""What the model does without pruning: the answer, its tokens' probabilities, the cost."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stsprune.calibration.forced import cut, end_tokens, greedy
from stsprune.engine import cache_bytes
from stsprune.engine.compat import CACHE
from stsprune.engine.visual import Visual

LONGEST = 64
#: Milliseconds above which a prefill is timed once; a faster one gets a second round, both sides in
#: turns.
SLOW_MS = 2000.0


@dataclass(frozen=True)
class Unpruned:
    """inputs: the prompt as the model takes it; visual: the picture's shape in it; pixels: uint8
    [H, W, 3] as the model saw it; tokens: the greedy answer, its end included; logits: float32
    [L, vocabulary] at each of them.
    """

    inputs: Any
    visual: Visual
    pixels: Any
    tokens: list[int]
    logits: Tensor
    prefill_ms: float
    kv_bytes: int


def prefill(model: Any, inputs: Any) -> tuple[Any, float]:
    """(output, milliseconds) of the prompt alone, image encoder included."""
    start = now(model)
    out = model(**inputs, use_cache=True, logits_to_keep=1)
    return out, 1000 * (now(model) - start)


def held_bytes(out: Any) -> int:
    """Bytes of the KV cache that a prefill left."""
    return cache_bytes(getattr(out, CACHE))


def forced(model: Any, inputs: Any, out: Any, answer: list[int]) -> Tensor:
    """float32 [L, vocabulary]: logits at each token of `answer`, behind a prefill's output.

    Consumes the output's cache.
    """
    parts = [out.logits[0, -1:]]
    if len(answer) > 1:
        said = torch.tensor([answer[:-1]], device=parts[0].device)
        mask = torch.cat([inputs["attention_mask"], torch.ones_like(said)], 1)
        cache = {CACHE: getattr(out, CACHE)}
        parts.append(model(input_ids=said, attention_mask=mask, use_cache=True, **cache).logits[0])
    return torch.cat(parts).float().cpu()


def answer_tokens(model: Any, inputs: Any) -> list[int]:
    """The greedy answer up to and including the token that ends it."""
    return cut(greedy(model, inputs, LONGEST)[0].tolist(), end_tokens(model))


def now(model: Any) -> float:
    """Seconds, once the device has done what it was given."""
    if model.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
