"""A benchmark's items, a model's answers to them, accuracy per family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from ..chat import image_question, write_prompt
from ..embedded.questions import Question
from ..embedded.scenes import Scene
from ..engine import prune
from .benchmarks import find_benchmark

PAIRED = 32  # prompts per forward pass


@dataclass(frozen=True)
class Item:
    """One question about one scene."""

    scene: Scene
    question: Question


def load_items(
    split: str,
    scenes: int,
    per_family: int = 1,
    grid: int | None = None,
    start: int = 0,
    benchmark: str = "sceneqa",
) -> list[Item]:
    """`scenes` scenes of a split from `start` on, up to `per_family` questions of each family.

    grid: visual tokens a side, by default the benchmark's own.
    """
    asked = find_benchmark(benchmark)
    if scenes < 1:
        raise ValueError(f"scenes must be >= 1, got {scenes}")
    numbers = range(start, start + scenes)
    drawn = (asked.draw(split, index, grid or asked.grid) for index in numbers)
    return [Item(scene, question) for scene in drawn for question in asked.ask(scene, per_family)]


def encode(processor: Any, items: Sequence[Item]) -> Any:
    """Model inputs of a batch of items, padded on the left."""
    prompts = [write_prompt(processor, image_question(item.question.text)) for item in items]
    pictures = [Image.fromarray(item.scene.image) for item in items]
    return processor(images=pictures, text=prompts, padding=True, return_tensors="pt")


@torch.inference_mode()
def answers(
    model: Any,
    processor: Any,
    items: Sequence[Item],
    method: Any = None,
    positions: str = "original",
    advance: Callable[[int], object] = lambda n: None,
) -> list[str]:
    """The model's greedy one-word answer to every item, pruned by `method` (None = unpruned).

    The first generated token is the answer: for families whose answers are one token.
    """
    out: list[str] = []
    for at in range(0, len(items), PAIRED):
        batch = items[at : at + PAIRED]
        inputs = encode(processor, batch).to(model.device)
        with prune(model, method, positions=positions) if method else nullcontext():
            logits = model(**inputs, logits_to_keep=1, use_cache=True).logits
        out += processor.tokenizer.convert_ids_to_tokens(logits[:, -1].argmax(-1).tolist())
        advance(len(batch))
    return out


def accuracy(items: Sequence[Item], given: Sequence[str]) -> dict[str, float]:
    """Share of right answers: `all` = over all items, then every family that has items."""
    right: dict[str, list[bool]] = {"all": []}
    for item, answer in zip(items, given, strict=True):
        ok = item.question.answer == answer
        right["all"].append(ok)
        right.setdefault(item.question.family, []).append(ok)
    return {name: sum(marks) / len(marks) for name, marks in right.items() if marks}
