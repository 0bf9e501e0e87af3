"""The unpruned answer, and what a model says at each of its tokens when it is forced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..engine.compat import CACHE


def greedy(model: Any, inputs: Mapping[str, Any], most: int) -> Tensor:
    """New tokens [B, L <= most] of the plain greedy answers: no sampling, beams or penalties."""
    tokens: Tensor = model.generate(
        **inputs,
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        max_new_tokens=most,
    )
    return tokens[:, inputs["input_ids"].shape[1] :]


def end_tokens(model: Any) -> list[int]:
    """Ids that end an answer."""
    ends = model.generation_config.eos_token_id
    if ends is None:
        return []
    return list(ends) if isinstance(ends, list | tuple) else [int(ends)]


def cut(tokens: list[int], ends: list[int]) -> list[int]:
    """An answer up to and including the token that ends it."""
    for place, token in enumerate(tokens):
        if token in ends:
            return tokens[: place + 1]
    return tokens


def forced_logits(model: Any, inputs: Mapping[str, Any], answer: Tensor) -> Tensor:
    """Logits [B, L, vocabulary] at each token of `answer` [B, L], given those before it.

    The prompt is prefilled alone, as in generation: a filter inside must not see the answer.
    """
    out = model(**inputs, use_cache=True, logits_to_keep=1)
    parts = [out.logits[:, -1:]]
    if answer.shape[1] > 1:
        said = answer[:, :-1]
        mask = torch.cat([inputs["attention_mask"], torch.ones_like(said)], 1)
        cache = {CACHE: getattr(out, CACHE)}
        parts.append(model(input_ids=said, attention_mask=mask, use_cache=True, **cache).logits)
    return torch.cat(parts, 1)
