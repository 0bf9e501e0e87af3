"""Repulsion alone against max-min selection and against nothing but the Gram product."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from stsprune.selection import cell_centres
from stsprune.selection.distance import potentials
from stsprune.selection.greedy import greedy
from stsprune.selection.reference import most_isolated
from stsprune.selection.repulsion import EPS, EXPONENT, SPACE, sample

from .timing import interleaved


def gram(features: Tensor) -> Tensor:
    """Nothing but the N x N product of unit features."""
    return features @ features.transpose(1, 2)


def max_min_loops(distances: Tensor, keep: int) -> Tensor:
    """DivPrune's algorithm as its paper states it, image by image and step by step: [B, keep].

    Each step indexes the distance rows of all selected tokens and takes a min over them. No step
    waits for a GPU.
    """
    kept = torch.zeros(len(distances), keep, dtype=torch.int64, device=distances.device)
    for table, selected in zip(distances, kept, strict=True):
        nearest = table.clone().fill_diagonal_(torch.inf).min(1).values
        selected[0] = nearest.argmax()
        for step in range(1, keep):
            closest = table[selected[:step]].min(0).values
            selected[step] = closest.argmax()
    return kept


def lean_max_min_loops(distances: Tensor, keep: int) -> Tensor:
    """The same without indices of minima, masks and copies of single numbers: as fast as it gets
    without a running minimum, which would be another algorithm.
    """
    kept = torch.empty(len(distances), keep, dtype=torch.int64, device=distances.device)
    for table, selected in zip(distances, kept, strict=True):
        nearest = table.clone().fill_diagonal_(torch.inf).amin(1)
        torch.argmax(nearest, 0, out=selected[0])
        for step in range(1, keep):
            closest = table.index_select(0, selected[:step]).amin(0)
            torch.argmax(closest, 0, out=selected[step])
    return kept


def contest(
    tokens: int,
    keep: int,
    width: int,
    batch: int,
    device: str,
    dtype: torch.dtype,
    repeats: int = 25,
) -> dict[str, Any]:
    """Shape, ratios and milliseconds (by CUDA events on a GPU) of one run of all in turns.

    The loops start from a finished table, "repulsion" and "max-min" from the features.
    """
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(batch, tokens, width, generator=generator).to(device, dtype)
    rows = max(side for side in range(1, math.isqrt(tokens) + 1) if tokens % side == 0)
    positions = cell_centres(rows, tokens // rows).to(device)
    unit = torch.nn.functional.normalize(features, dim=-1)
    table, logarithm = potentials(features, positions, SPACE, EXPONENT, EPS)
    table.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    first = most_isolated(table, logarithm)
    distances = 1 - gram(unit)

    def max_min(loops: Callable[[Tensor, int], Tensor]) -> Tensor:
        return loops(1 - gram(torch.nn.functional.normalize(features, dim=-1)), keep)

    runs: dict[str, Callable[[], Any]] = {
        "gram": lambda: gram(unit),
        "repulsion": lambda: sample(features, positions, keep, SPACE, EXPONENT, EPS),
        "repulsion loop": lambda: greedy(table, first, keep, logarithm, 0),
        "max-min loop": lambda: max_min_loops(distances, keep),
        "max-min": lambda: max_min(max_min_loops),
        "lean max-min loop": lambda: lean_max_min_loops(distances, keep),
        "lean max-min": lambda: max_min(lean_max_min_loops),
    }
    with torch.inference_mode():
        times = interleaved(runs, repeats, device=device)
    median = {name: time.median for name, time in times.items()}
    return {
        "shape": {"tokens": tokens, "keep": keep, "width": width, "batch": batch},
        "ratios": {
            f"{one} / {two}": median[one] / median[two]
            for one, two in (
                ("max-min loop", "repulsion loop"),
                ("max-min", "repulsion"),
                ("repulsion", "gram"),
                ("lean max-min loop", "repulsion loop"),
                ("lean max-min", "repulsion"),
            )
        },
        "milliseconds": {name: time.as_dict() for name, time in times.items()},
    }
