"""What pruning kept, for people and tests to look at."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Stage:
    """One stage's outcome for one image.

    name: "structure" or "semantics"; layer: -1 before the LLM, else the decoder layer whose
    attention decided; kept: int64 [K], ascending indices into the image's grid (row-major);
    scores: float32, one per token that the stage chose from, None where it does not score;
    grid: (H, W).
    """

    name: str
    layer: int
    kept: Tensor
    scores: Tensor | None
    grid: tuple[int, int]


@dataclass
class ImageTrace:
    """One image of the batch: its row, its grid, and the stages in order."""

    row: int
    grid: tuple[int, int]
    stages: list[Stage] = field(default_factory=list)


@dataclass
class Trace:
    """Images of the latest prompt with images, in the order of the batch; empty before it."""

    images: list[ImageTrace] = field(default_factory=list)
