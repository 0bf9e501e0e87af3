"""What every method keeps of the same picture for the same question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..engine import prune
from .benchmarks import find_benchmark
from .jobs import make_jobs
from .runner import Setup
from .sceneqa import encode, load_items

#: Questions shown: the first of these families that the split's scenes ask.
SHOWN = ("relation", "character")


@dataclass(frozen=True)
class Kept:
    """One method's choice: grid indices after each stage, and the answer it led to."""

    name: str
    stages: tuple[tuple[int, ...], ...]
    answer: str


@dataclass(frozen=True)
class Wall:
    """A picture (uint8 [H, W, 3]) with a question, and what every method kept at one budget."""

    image: np.ndarray
    question: str
    wanted: str
    grid: tuple[int, int]
    budget: int
    kept: tuple[Kept, ...]


@torch.inference_mode()
def gallery(
    setup: Setup,
    names: Sequence[str],
    budgets: Sequence[int],
    settings: Mapping[str, Mapping[str, Any]],
) -> list[Wall]:
    """A wall per shown family, from the split's first scenes, at the middle budget."""
    from ..embedded import load_embedded
    from .runner import model_shape

    model, processor = load_embedded(find_benchmark(setup.benchmark).size)
    budget = sorted(budgets)[len(budgets) // 2]
    jobs, _ = make_jobs(names, [budget], *model_shape(setup.benchmark), 1, settings)
    items = load_items(setup.split, min(setup.scenes, 8), benchmark=setup.benchmark)
    walls = []
    for family in SHOWN:
        item = next((candidate for candidate in items if candidate.question.family == family), None)
        if item is None:
            continue
        inputs = encode(processor, [item])
        kept = []
        for job in jobs:
            if job.method is None:
                continue
            with prune(model, job.method, positions=setup.positions) as trace:
                logits = model(**inputs, logits_to_keep=1).logits[0, -1]
            stages = tuple(tuple(s.kept.tolist()) for s in trace.images[0].stages)
            answer = processor.tokenizer.convert_ids_to_tokens(int(logits.argmax()))
            kept.append(Kept(job.name, stages, answer))
        grid = (item.scene.grid, item.scene.grid)
        question = item.question
        walls.append(
            Wall(item.scene.image, question.text, question.answer, grid, budget, tuple(kept))
        )
    return walls
