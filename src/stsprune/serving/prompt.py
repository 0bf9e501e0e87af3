"""Token ids of a prompt with images."""

from __future__ import annotations

from collections.abc import Sequence


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
