"""What training needs to know of each question set: its arrays, its words, its read-outs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import data, questions, text, tower
from .sceneqa2 import data as data2
from .sceneqa2 import questions as questions2
from .sceneqa2 import text as text2
from .sceneqa2 import tower as tower2


@dataclass(frozen=True)
class Task:
    """A question set to train on.

    fields, fill: see data.py; heads: the tower's read-outs, made for a width; loss: of the heads,
    the tower, pixels and a batch of arrays; gate: read-outs below which the tower sees too little
    for the LLM; answer: the longest answer in tokens.
    """

    families: tuple[str, ...]
    words: Callable[[], list[str]]
    fields: Callable[[int, int], data.Fields]
    fill: Callable[..., None]
    heads: Callable[[int], Any]
    loss: Callable[..., Any]
    gate: dict[str, float]
    tokens_per_question: int
    answer: int

    def tokenizer(self) -> Any:
        """Of `words`."""
        return text.build_tokenizer(self.words())


TASKS = {
    "sceneqa": Task(
        questions.FAMILIES,
        text.vocabulary,
        data.fields,
        data.fill,
        tower.TowerHeads,
        tower.tower_loss,
        {"shape": 0.9, "glyph": 0.85},
        tokens_per_question=11,
        answer=4,
    ),
    "sceneqa2": Task(
        questions2.FAMILIES,
        text2.vocabulary,
        data2.fields,
        data2.fill,
        tower2.TowerHeads,
        tower2.tower_loss,
        {"shape": 0.9, "glyph": 0.85, "text": 0.85},
        tokens_per_question=14,
        answer=data2.LONGEST_ANSWER,
    ),
}
