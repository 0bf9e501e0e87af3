"""Token ids of a prompt with images."""

from __future__ import annotations

from collections.abc import Sequence


def text_behind(prompt: Sequence[int], image: int) -> tuple[int, ...]:
    """The prompt's tokens behind its last image; all of them where it ends with the image."""
    last = max((place for place, one in enumerate(prompt) if one == image), default=-1)
    return tuple(prompt[last + 1 :]) or tuple(one for one in prompt if one != image)


def without(tokens: Sequence[int], image: int, dropped: int) -> list[int]:
    """`tokens` without their last `dropped` placeholders."""
    left = sum(one == image for one in tokens) - dropped
    out = []
    for one in tokens:
        if one == image:
            left -= 1
            if left < 0:
                continue
        out.append(one)
    return out
