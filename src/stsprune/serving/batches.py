"""Parts of an encoder's batch that are no larger than an unpruned server's.

vLLM's scheduler counts an image by the rows that its prompt holds, and so lets many times as many
into one call once they are pruned. The encoder sees every patch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any


def spans(lengths: Sequence[int], limit: int) -> list[tuple[int, int]]:
    """(start, stop) of consecutive images whose unpruned lengths sum to `limit` at most each; an
    image that exceeds it stands alone."""
    out: list[tuple[int, int]] = []
    start, total = 0, 0
    for number, length in enumerate(lengths):
        if number > start and total + length > limit:
            out.append((start, number))
            start, total = number, 0
        total += length
    if lengths:
        out.append((start, len(lengths)))
    return out


def part(
    kwargs: Mapping[str, Any], span: tuple[int, int], sizes: Mapping[str, Sequence[int]]
) -> dict[str, Any]:
    """The arguments of the encoder for the images of `span`.

    sizes: for each argument that has several entries per image, one after the other, how many of
    every image. What is not named there has one entry per image and is cut where it has as many as
    there are images; all else is shared.
    """
    start, stop = span
    count = len(next(iter(sizes.values())))
    out: dict[str, Any] = {}
    for name, value in kwargs.items():
        if name in sizes:
            ends = [0, *accumulate(sizes[name])]
            out[name] = value[ends[start] : ends[stop]]
        elif getattr(value, "ndim", 1) > 0 and hasattr(value, "__len__") and len(value) == count:
            out[name] = value[start:stop]
        else:
            out[name] = value
    return out
