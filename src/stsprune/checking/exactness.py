"""One prompt: the pruned run against both oracles, and a budget of everything against none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from stsprune.engine import Trace, cache_bytes, prune
from stsprune.engine.bar import allowed, largest
from stsprune.engine.by_hand import gathered_logits
from stsprune.engine.cache import has_keys
from stsprune.engine.forced import Prompt
from stsprune.engine.mixers import scoring_layers
from stsprune.engine.reference import masked_logits
from stsprune.engine.unpruned import unpruned
from stsprune.errors import InvalidArgumentError, UnsupportedModeError, UnsupportedModelError
from stsprune.method.base import Method, Plan, layer_average

from .result import Finding, PromptCheck
from .theory import planned_bytes

ORACLES: dict[str, Callable[..., Tensor]] = {
    "the dropped tokens masked": masked_logits,
    "layers called by hand": gathered_logits,
}
WHOLE = "unpruned, at budget 1.0"


def compare(prompt: Prompt, method: Method) -> tuple[PromptCheck, Tensor]:
    """What was found, and the tokens [B, steps] that were forced: the unpruned model's own.

    Raises InvalidArgumentError where the method drops nothing of this prompt, which would prove
    nothing, and UnsupportedModelError where no oracle applies.
    """
    first, cache = prompt.prefill()
    prefilled = _Prefilled(cache)
    tokens, seen = prompt.answer(first, cache)
    alone = torch.stack([first, *seen], 1)
    again = unpruned(prompt.model, prompt.inputs, Trace(), tokens, family=prompt.family).logits()
    noise = largest(alone, again)
    bar = allowed(alone, noise)

    got, trace, size = _pruned(prompt, method, tokens)
    decoder = prompt.family.decoder(prompt.model)
    depth, scoring = len(decoder.layers), scoring_layers(decoder)
    kept = tuple(
        layer_average([(s.layer, len(s.kept)) for s in image.stages], image.tokens, depth)
        for image in trace.images
    )
    if not any(image.stages for image in trace.images):
        raise InvalidArgumentError(
            f"budget must drop tokens for a check to mean anything, got {method.budget!r} for "
            f"{', '.join(str(image.tokens) for image in trace.images) or 'no'} visual tokens"
        )
    findings = [_asked(name, got, bar, prompt, trace, tokens) for name in ORACLES]
    if all(finding.difference is None for finding in findings):
        raise UnsupportedModelError(
            f"model must suit an oracle: {'; '.join(finding.why for finding in findings)}"
        )
    findings.append(_whole(prompt, method, trace, depth, alone, tokens, bar))
    found = PromptCheck(
        tokens=prompt.length,
        visual_tokens=tuple(image.tokens for image in trace.images),
        kept=kept,
        noise=noise,
        findings=tuple(findings),
        unpruned_bytes=prefilled.bytes,
        pruned_bytes=size,
        theory_bytes=planned_bytes(
            method, trace, prompt.mask[:, : prompt.length], prefilled, scoring
        ),
    )
    return found, tokens


def with_shared_bar(found: list[PromptCheck]) -> tuple[PromptCheck, ...]:
    """The noisiest prompt sets the bar for all: noise is the model's, a prompt is one sample."""
    bar = max(finding.bar for prompt in found for finding in prompt.findings)
    return tuple(
        replace(prompt, findings=tuple(replace(f, bar=bar) for f in prompt.findings))
        for prompt in found
    )


class _Prefilled:
    """A cache's layers with keys as they are now: decoding makes new tensors."""

    def __init__(self, cache: Any) -> None:
        self.layers = {
            n: _Layer(layer.keys, layer.values)
            for n, layer in enumerate(cache.layers)
            if has_keys(layer)
        }
        self.bytes, self.depth = cache_bytes(cache), len(cache.layers)


class _Layer:
    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self.keys, self.values = keys.to("meta"), values.to("meta")


def _pruned(prompt: Prompt, method: Method, tokens: Tensor) -> tuple[Tensor, Trace, int]:
    with prune(prompt.model, method, family=prompt.family) as trace:
        first, cache = prompt.prefill()
        size = cache_bytes(cache)
        logits = torch.stack([first, *prompt.decode(tokens, cache)], 1)
    return logits, trace, size


def _asked(
    name: str, got: Tensor, bar: float, prompt: Prompt, trace: Trace, tokens: Tensor
) -> Finding:
    attention = prompt.family.decoder(prompt.model).config._attn_implementation
    if ORACLES[name] is masked_logits and "flash" in attention:
        return Finding(name, None, bar, f"{attention} takes no mask of its own")
    try:
        wanted = ORACLES[name](prompt.model, prompt.inputs, trace, tokens, family=prompt.family)
    except (UnsupportedModelError, UnsupportedModeError) as error:
        return Finding(name, None, bar, str(error))
    return Finding(name, largest(got, wanted), bar)


def _whole(
    prompt: Prompt,
    method: Method,
    trace: Trace,
    depth: int,
    alone: Tensor,
    tokens: Tensor,
    bar: float,
) -> Finding:
    everything = method.fixed(1.0)
    if any(everything.plan(image.tokens, depth) != Plan() for image in trace.images):
        name = type(method).__name__
        return Finding(WHOLE, None, bar, f"{name} drops tokens at any budget")
    logits, _, _ = _pruned(prompt, everything, tokens)
    return Finding(WHOLE, largest(logits, alone), bar)
