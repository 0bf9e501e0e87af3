"""Prompts as a model's inputs, and the halves and batches they are measured in."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from stsprune.errors import InvalidArgumentError

from ..chat import lacks_first_token, write_prompt
from ..words import unknown_words
from .prompts import Prompt


def split(prompts: Sequence[Prompt], seed: int = 0) -> tuple[list[int], list[int]]:
    """Numbers of the prompts to search on and of those to verify on, about as many each.

    Prompts about the same pictures go to the same side: the second half is of unseen pictures.
    """
    groups: dict[str, list[int]] = {}
    for number, prompt in enumerate(prompts):
        groups.setdefault(prompt.label(), []).append(number)
    order = list(groups.values())
    random.Random(seed).shuffle(order)
    halves: tuple[list[int], list[int]] = ([], [])
    for group in order:
        min(halves, key=len).extend(group)
    if not halves[1]:
        raise InvalidArgumentError(
            "prompts must be about at least two different pictures: one half is held out"
        )
    return halves


def check_words(processor: Any, prompts: Sequence[Prompt]) -> None:
    """Raises InvalidArgumentError for words without a token, and for a marker in a question."""
    marker = getattr(processor, "image_token", None)
    for prompt in prompts:
        if marker and marker in prompt.question:
            raise InvalidArgumentError(
                f"{prompt.where} must not have the image marker {marker!r} in its question"
            )
        unknown = unknown_words(processor.tokenizer, prompt.question)
        if unknown:
            words = ", ".join(map(repr, unknown))
            raise InvalidArgumentError(
                f"{prompt.where} must ask in words that the model knows, got {words}"
            )
        if prompt.video and getattr(processor, "video_processor", None) is None:
            raise InvalidArgumentError(
                f"{prompt.where} must have images: this model's processor takes no video"
            )


def encode(model: Any, processor: Any, prompts: Sequence[Prompt]) -> Any:
    """Inputs of a batch on the model's device, padded on the left."""
    import numpy as np

    texts, images, videos = [], [], []
    for prompt in prompts:
        pictures = prompt.pictures()
        if prompt.video:
            videos.append(np.stack([np.asarray(frame) for frame in pictures]))
            content = [{"type": "video"}]
        else:
            content = [{"type": "image"} for _ in pictures]
        images.append([] if prompt.video else pictures)
        content.append({"type": "text", "text": prompt.question})
        texts.append(write_prompt(processor, [{"role": "user", "content": content}]))
    processor.tokenizer.padding_side = "left"  # answers go on at the right
    inputs = processor(
        images=images if any(images) else None,
        text=texts,
        padding=True,
        return_tensors="pt",
        add_special_tokens=lacks_first_token(processor, texts[0]),
        **({"videos": videos} if videos else {}),
    )
    return inputs.to(model.device, dtype=model.dtype)
