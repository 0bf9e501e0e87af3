"""Training arrays, drawn ahead of time and kept on disk as memory maps."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .glyphs import GLYPHS
from .questions import FAMILIES, Question, questions
from .scenes import COLOURS, PATCH, SHAPES, TEXTURES, scene
from .text import ASSISTANT

MAX_OBJECTS = 24
_CHUNK = 500
#: Array name -> (shape of one scene's row, dtype).
Fields = dict[str, tuple[tuple[int, ...], Any]]


def common_fields(grid: int, asked: int, tokens: int) -> Fields:
    """What every task keeps; asked: questions a scene; tokens: of a question with its answer."""
    return {
        "image": ((grid * PATCH, grid * PATCH, 3), np.uint8),
        "owner": ((grid * grid,), np.int8),
        "texture": ((), np.int8),
        "tokens": ((asked, tokens), np.uint8),  # 0 = padding
        "family": ((asked,), np.int8),  # -1 = no question
    }


def fill_questions(
    row: dict[str, np.ndarray], asked: Sequence[Question], families: Sequence[str], tokenizer: Any
) -> None:
    """Write a scene's questions with their answers into its row."""
    texts = [f"{q.text} {ASSISTANT} {q.answer}" for q in asked]
    row["family"][:] = -1
    for k, ids in enumerate(tokenizer(texts, add_special_tokens=False)["input_ids"]):
        row["tokens"][k, : len(ids)] = ids
        row["family"][k] = families.index(asked[k].family)


def fields(grid: int, per_family: int) -> Fields:
    """SceneQA's arrays."""
    return common_fields(grid, per_family * len(FAMILIES), 24) | {
        "items": ((MAX_OBJECTS, 3), np.int8),  # colour, shape, character; -1 = no object
        "place": ((MAX_OBJECTS, 2), np.float16),  # x, y in [0, 1]
    }


def fill(
    row: dict[str, np.ndarray], split: str, index: int, grid: int, per_family: int, tokenizer: Any
) -> None:
    """Draw scene `index` of SceneQA into its row of the arrays."""
    colours, shapes = list(COLOURS), list(SHAPES)
    drawn = scene(split, index, grid)
    row["image"][...] = drawn.image
    row["owner"][...] = drawn.owner
    row["texture"][...] = TEXTURES.index(drawn.texture)
    row["items"][...] = -1
    for k, item in enumerate(drawn.objects[:MAX_OBJECTS]):
        look = colours.index(item.colour), shapes.index(item.shape), GLYPHS.index(item.glyph)
        row["items"][k] = look
        row["place"][k] = np.array([item.x, item.y]) / drawn.image.shape[0]
    fill_questions(row, questions(drawn, per_family), FAMILIES, tokenizer)


def _render(job: tuple[str, str, int, int, int, int, str]) -> int:
    from .tasks import TASKS

    name, split, start, stop, grid, per_family, folder = job
    task = TASKS[name]
    tokenizer = task.tokenizer()
    arrays = {
        key: np.load(f"{folder}/{key}.npy", mmap_mode="r+") for key in task.fields(grid, per_family)
    }
    for i in range(start, stop):
        row = {key: array[i : i + 1][0, ...] for key, array in arrays.items()}
        task.fill(row, split, i, grid, per_family, tokenizer)
    for array in arrays.values():
        array.flush()
    return stop - start


def render(
    folder: Path,
    task: str,
    split: str,
    count: int,
    grid: int,
    per_family: int,
    workers: int,
    advance: Callable[[int], object] = lambda n: None,
) -> dict[str, np.ndarray]:
    """Draw `count` scenes of `split` into `folder` (skipped when complete) and open them.

    task: a name in `tasks.TASKS`.
    """
    from .tasks import TASKS

    done = folder / "complete"
    shapes = TASKS[task].fields(grid, per_family)
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for key, (shape, kind) in shapes.items():
            np.lib.format.open_memmap(f"{folder}/{key}.npy", "w+", kind, (count, *shape))
        jobs = [
            (task, split, a, min(a + _CHUNK, count), grid, per_family, str(folder))
            for a in range(0, count, _CHUNK)
        ]
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            for n in pool.imap_unordered(_render, jobs):
                advance(n)
        done.touch()
    return {key: np.load(folder / f"{key}.npy", mmap_mode="c") for key in shapes}
