"""What pruning kept, for people and tests to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from .visual import Visual


@dataclass(frozen=True)
class Stage:
    """One stage's outcome for one image or video.

    name: "encoder" (a stage inside the vision tower), "structure" or "semantics"; layer: -1 before
    the LLM, else the decoder layer whose
    attention decided; kept: int64 [K], ascending indices into the visual tokens (row-major over
    `grid`; plane after plane where there are several, see `ImageTrace.planes`); scores: float32,
    one per token that the stage chose from, None where it does not score; grid: (H, W), or
    (T, H, W) of a video; merged: [K, Dim] what the kept tokens became, where the method merges.
    """

    name: str
    layer: int
    kept: Tensor
    scores: Tensor | None
    grid: tuple[int, ...]
    merged: Tensor | None = None


@dataclass
class ImageTrace:
    """One image or video of the batch: its row, its shape, and the stages in order.

    budget: what its content was worth, with a `potential` or a `budget_total`; else None.
    """

    row: int
    visual: Visual
    stages: list[Stage] = field(default_factory=list)
    budget: int | None = None

    @property
    def grid(self) -> tuple[int, ...]:
        """(H, W) of the picture, or (T, H, W) of a video."""
        return self.visual.grid

    @property
    def tokens(self) -> int:
        """Visual tokens before pruning."""
        return self.visual.tokens

    @property
    def planes(self) -> tuple[tuple[int, int], ...]:
        """(H, W) of each plane that `kept` counts through: thumbnail, whole picture, frames."""
        return tuple(plane.grid for plane in self.visual.planes)


@dataclass
class Trace:
    """Images of the latest prompt with images, in the order of the batch; empty before it."""

    images: list[ImageTrace] = field(default_factory=list)

    def record(
        self,
        images: Sequence[int],
        visual: Visual,
        name: str,
        layer: int,
        kept: Tensor,
        scores: Tensor | None = None,
        merged: Tensor | None = None,
    ) -> None:
        """Add a stage to each of `images`, all of one shape: tensors [I, ...], see `Stage`."""
        for i, image in enumerate(images):
            own_scores = None if scores is None else scores[i]
            own_merged = None if merged is None else merged[i]
            stage = Stage(name, layer, kept[i], own_scores, visual.grid, own_merged)
            self.images[image].stages.append(stage)

    def record_merged(self, images: Sequence[int], merged: Tensor) -> None:
        """Complete the latest stage of each of `images`: [I, K, Dim], what the kept became."""
        for image, states in zip(images, merged, strict=True):
            stages = self.images[image].stages
            stages[-1] = replace(stages[-1], merged=states)
