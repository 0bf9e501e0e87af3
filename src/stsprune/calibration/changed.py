"""The prompts whose answer changed: what was kept of their pictures, and both answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..engine import prune
from ..engine.trace import ImageTrace
from ..method import Method
from .forced import cut, end_tokens, greedy
from .inputs import encode
from .measure import Outcome
from .prompts import Prompt

#: Prompts that are shown; a report of hundreds is read by nobody.
SHOWN = 24


@dataclass(frozen=True)
class Picture:
    """uint8 [H, W, 3] as the model saw it; stages: (name, kept cells of `grid`)."""

    pixels: np.ndarray
    grid: tuple[int, int]
    stages: tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Changed:
    """A prompt whose answer is another one after pruning; wanted: the label, if there is one."""

    where: str
    question: str
    kind: str | None
    wanted: str | None
    unpruned: str
    pruned: str
    tokens: float
    kl: float
    pictures: tuple[Picture, ...]


def worst_first(outcomes: Sequence[Outcome]) -> list[int]:
    """Places of the changed answers: fewest tokens alike first, then the largest KL divergence."""
    places = [i for i, outcome in enumerate(outcomes) if not outcome.same]
    return sorted(places, key=lambda i: (outcomes[i].tokens, -outcomes[i].kl))


@torch.inference_mode()
def look(
    model: Any,
    processor: Any,
    prompt: Prompt,
    method: Method,
    outcome: Outcome,
    unpruned: str,
    longest: int,
    positions: str = "original",
    family: str | None = None,
) -> Changed:
    """Answer a prompt once more, alone, and note what was kept."""
    inputs = encode(model, processor, [prompt])
    with prune(model, method, positions=positions, family=family) as trace:
        said = greedy(model, inputs, longest)[0].tolist()
    text = processor.tokenizer.decode(cut(said, end_tokens(model)), skip_special_tokens=True)
    shown = prompt.pictures() if prompt.images else []
    seen = _pixels(inputs, processor, shown)
    pictures = tuple(
        _picture(pixels, image) for pixels, image in zip(seen, trace.images, strict=False)
    )
    return Changed(
        prompt.where,
        prompt.question,
        prompt.kind,
        prompt.answer,
        unpruned,
        text.strip(),
        outcome.tokens,
        outcome.kl,
        pictures,
    )


def _picture(pixels: np.ndarray, image: ImageTrace) -> Picture:
    stages = [(stage.name, stage.kept) for stage in image.stages]
    # The first choice, and the last one before only a token or two are left.
    several = [one for one in stages[1:] if len(one[1]) > 2]
    chosen = stages[:1] + several[-1:]
    return Picture(
        pixels,
        max(image.planes, key=math.prod),
        tuple((name, tuple(image.visual.in_finest(kept).tolist())) for name, kept in chosen),
    )


def _pixels(inputs: Any, processor: Any, shown: Sequence[Any]) -> list[np.ndarray]:
    """Pictures as the model saw them, resized and cropped; themselves where it is given tiles."""
    pixels, settings = inputs.get("pixel_values"), processor.image_processor
    if pixels is None or pixels.ndim != 4 or pixels.shape[:2] != (len(shown), 3):
        return [np.asarray(level) for level in shown]
    mean, std = (torch.tensor(v)[:, None, None] for v in (settings.image_mean, settings.image_std))
    levels = ((pixels.float().cpu() * std + mean) * 255).round().clamp(0, 255).byte()
    return [level.permute(1, 2, 0).numpy() for level in levels]
