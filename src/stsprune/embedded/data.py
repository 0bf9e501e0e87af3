"""Training arrays of SceneQA, rendered ahead of time and kept on disk as memory maps."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .glyphs import GLYPHS
from .questions import FAMILIES, questions
from .scenes import COLOURS, PATCH, SHAPES, TEXTURES, scene
from .text import ASSISTANT, build_tokenizer

MAX_OBJECTS = 24
QUESTION_TOKENS = 24  # question, ASSISTANT: and the answer's own token
_CHUNK = 500


def _fields(grid: int, asked: int) -> dict[str, tuple[tuple[int, ...], Any]]:
    return {
        "image": ((grid * PATCH, grid * PATCH, 3), np.uint8),
        "owner": ((grid * grid,), np.int8),
        "items": ((MAX_OBJECTS, 3), np.int8),  # colour, shape, character; -1 = no object
        "place": ((MAX_OBJECTS, 2), np.float16),  # x, y in [0, 1]
        "texture": ((), np.int8),
        "tokens": ((asked, QUESTION_TOKENS), np.uint8),  # 0 = padding
    }


def _render(job: tuple[str, int, int, int, int, str]) -> int:
    split, start, stop, grid, per_family, folder = job
    tokenizer = build_tokenizer()
    arrays = {key: np.load(f"{folder}/{key}.npy", mmap_mode="r+") for key in _fields(grid, 1)}
    colours, shapes = list(COLOURS), list(SHAPES)
    for i in range(start, stop):
        drawn = scene(split, i, grid)
        arrays["image"][i] = drawn.image
        arrays["owner"][i] = drawn.owner
        arrays["texture"][i] = TEXTURES.index(drawn.texture)
        arrays["items"][i] = -1
        for k, item in enumerate(drawn.objects[:MAX_OBJECTS]):
            look = colours.index(item.colour), shapes.index(item.shape), GLYPHS.index(item.glyph)
            arrays["items"][i, k] = look
            arrays["place"][i, k] = np.array([item.x, item.y]) / drawn.image.shape[0]
        asked = questions(drawn, per_family)
        texts = [f"{q.text} {ASSISTANT} {q.answer}" for q in asked]
        for k, ids in enumerate(tokenizer(texts, add_special_tokens=False)["input_ids"]):
            arrays["tokens"][i, k, : len(ids)] = ids
    for array in arrays.values():
        array.flush()
    return stop - start


def render(
    folder: Path,
    split: str,
    count: int,
    grid: int,
    per_family: int,
    workers: int,
    advance: Callable[[int], object] = lambda n: None,
) -> dict[str, np.ndarray]:
    """Render `count` scenes of `split` into `folder` (skipped when complete) and open them."""
    done = folder / "complete"
    fields = _fields(grid, per_family * len(FAMILIES))
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for key, (shape, kind) in fields.items():
            np.lib.format.open_memmap(f"{folder}/{key}.npy", "w+", kind, (count, *shape))
        jobs = [
            (split, a, min(a + _CHUNK, count), grid, per_family, str(folder))
            for a in range(0, count, _CHUNK)
        ]
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            for n in pool.imap_unordered(_render, jobs):
                advance(n)
        done.touch()
    return {key: np.load(folder / f"{key}.npy", mmap_mode="r") for key in fields}
