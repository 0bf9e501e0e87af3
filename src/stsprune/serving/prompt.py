"""Token ids of a prompt with images."""

from __future__ import annotations

from collections.abc import Sequence


def text_behind(prompt: Sequence[int], image: int) -> tuple[int, ...]:
    """The prompt's tokens behind its last image; all of them where it ends with the image."""
    last = max((place for place, token in enumerate(prompt) if token == image), default=-1)
    return tuple(prompt[last + 1 :]) or tuple(token for token in prompt if token != image)


def without(tokens: Sequence[int], image: int, dropped: int) -> list[int]:
    """`tokens` without their last `dropped` placeholders."""
    left = sum(token == image for token in tokens) - dropped
    out = []
    for token in tokens:
        if token == image:
            left -= 1
            if left < 0:
                continue
        out.append(token)
    return out
