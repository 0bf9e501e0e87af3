"""What a method makes of the same prompt: the trace, the answer, what changed, the cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

import stsprune
from stsprune.engine.trace import ImageTrace
from stsprune.method.base import Method, Plan, tokens_per_layer

from .jobs import Job
from .unpruned import (
    SLOW_MS,
    Unpruned,
    answer_tokens,
    forced,
    held_bytes,
    prefill,
)


@dataclass(frozen=True)
class Pruned:
    """image: the trace; tokens: the greedy answer, its end included; logits: float32 [L,
    vocabulary] at each token of the *unpruned* answer; per_layer: visual tokens that each decoder
    layer computes; prefill_ms, unpruned_ms: the fastest of rounds that time both sides in turns.
    """

    image: ImageTrace
    tokens: list[int]
    logits: Tensor
    per_layer: list[int]
    prefill_ms: float
    unpruned_ms: float
    kv_bytes: int


def run_pruned(model: Any, unpruned: Unpruned, method: Method, job: Job) -> Pruned:
    """Prune one prompt. Raises what `stsprune.prune` raises, and Stopped."""
    inputs = unpruned.inputs
    with stsprune.prune(model, method) as trace:
        job.says("reading the prompt")
        out, milliseconds = prefill(model, inputs)
        image, size = trace.images[0], held_bytes(out)
        job.says("asking for the unpruned answer")
        logits = forced(model, inputs, out, unpruned.tokens)
        if logits.argmax(-1).tolist() == unpruned.tokens:
            tokens = unpruned.tokens  # each is the likeliest one: greedy decoding gives the same
        else:
            job.says("answering")
            tokens = answer_tokens(model, inputs)
    both = [(milliseconds, unpruned.prefill_ms)]
    if max(both[0]) < SLOW_MS:
        job.says("timing")
        plain = prefill(model, inputs)[1]
        with stsprune.prune(model, method):
            both.append((prefill(model, inputs)[1], plain))
    fastest, plain = map(min, zip(*both, strict=True))
    return Pruned(image, tokens, logits, counts(image, model), fastest, plain, size)


def counts(image: ImageTrace, model: Any) -> list[int]:
    """Visual tokens that each decoder layer computes."""
    drops = [(stage.layer, len(stage.kept)) for stage in image.stages]
    plan = Plan(dict(drops).get(-1), tuple(drop for drop in drops if drop[0] >= 0))
    return tokens_per_layer(plan, image.tokens, model.config.get_text_config().num_hidden_layers)
