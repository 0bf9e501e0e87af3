"""SceneQA as a benchmark: the items of a split, a model's answers, accuracy per family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from ..chat import image_question, write_prompt
from ..embedded.questions import FAMILIES, Question, questions
from ..embedded.scenes import Scene, scene
from ..engine import prune

PAIRED = 32  # prompts per forward pass


@dataclass(frozen=True)
class Item:
    """One question about one scene."""

    scene: Scene
    question: Question


def load_items(
    split: str, scenes: int, per_family: int = 1, grid: int = 12, start: int = 0
) -> list[Item]:
    """`scenes` scenes of a split from `start` on, up to `per_family` questions of each family."""
    if scenes < 1:
        raise ValueError(f"scenes must be >= 1, got {scenes}")
    drawn = (scene(split, index, grid) for index in range(start, start + scenes))
    return [Item(one, question) for one in drawn for question in questions(one, per_family)]


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

    Every SceneQA answer is one token, so the first generated token is the answer.
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
    names = ("all", *FAMILIES)
    return {name: sum(right[name]) / len(right[name]) for name in names if right.get(name)}
