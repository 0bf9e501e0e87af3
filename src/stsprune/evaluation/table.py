"""Accuracy of methods at budgets, side by side with the unpruned model and the blind baseline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from ..embedded.questions import FAMILIES, questions
from ..embedded.scenes import scene
from .blind import Blind
from .sceneqa import Item, accuracy, answers

BLIND_SCENES = 4000  # training scenes that the blind baseline has read


@dataclass(frozen=True)
class Row:
    """One line: name, budget in visual tokens per layer (None: not pruned), accuracy per family."""

    name: str
    budget: int | None
    runs: int
    accuracy: dict[str, float]


def blind_row(items: Sequence[Item], grid: int) -> Row:
    """The best question-only guesser, see `Blind`."""
    training = (q for i in range(BLIND_SCENES) for q in questions(scene("train", i, grid), 3))
    guesses = Blind(training).answers([item.question for item in items])
    return Row("blind", None, 1, accuracy(items, guesses))


def method_row(
    model: Any,
    processor: Any,
    items: Sequence[Item],
    name: str,
    variants: Sequence[Any],
    positions: str = "original",
    advance: Callable[[int], object] = lambda n: None,
) -> Row:
    """Mean accuracy over `variants` of one method (seeds); [None] is the unpruned model."""
    runs = [
        accuracy(items, answers(model, processor, items, method, positions, advance))
        for method in variants
    ]
    names = [name for name in ("all", *FAMILIES) if name in runs[0]]
    budget = variants[0].budget if variants[0] is not None else None
    return Row(name, budget, len(runs), {key: fmean(run[key] for run in runs) for key in names})
