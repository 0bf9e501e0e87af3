"""A batch of prompts answered, and what the decoder saw of their images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stsprune.engine.trace import Trace
from stsprune.method.base import layer_average

from .decoding import cut, generate_settings, stop_texts
from .prompts import Messages, build_inputs


def answer_batch(
    model: Any, processor: Any, prompts: Sequence[Messages], task: Mapping[str, Any]
) -> tuple[list[str], list[int]]:
    """Answers and their lengths in tokens; task: its generation settings."""
    inputs = build_inputs(processor, prompts).to(model.device, model.dtype)
    pad = processor.tokenizer.pad_token_id
    tokens = model.generate(**inputs, **generate_settings(task), pad_token_id=pad)
    new = tokens[:, inputs["input_ids"].shape[1] :]
    stops = stop_texts(task)
    texts = processor.tokenizer.batch_decode(new, skip_special_tokens=True)
    return [cut(text, stops) for text in texts], (new != pad).sum(1).tolist()


def tokens_seen(trace: Trace | None, depth: int) -> list[float]:
    """Visual tokens per decoder layer of each image since the last call, none if unpruned."""
    if trace is None:
        return []
    images, trace.images = trace.images, []  # a batch without images leaves the list as it is
    return [
        layer_average([(s.layer, len(s.kept)) for s in image.stages], image.tokens, depth)
        for image in images
    ]
