"""Training arrays of SceneQA 2."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data import Fields, common_fields, fill_questions
from ..glyphs import GLYPHS
from ..scenes import COLOURS, SHAPES
from .atlas import CHARACTERS
from .grounds import GROUNDS
from .questions import FAMILIES, questions
from .scenes import MAX_OBJECTS, MAX_SIGNS, scene
from .words import LONGEST

ITEMS = MAX_OBJECTS + MAX_SIGNS
LONGEST_ANSWER = MAX_SIGNS * LONGEST + 1  # every sign's characters, and </s>


def fields(grid: int, per_family: int) -> Fields:
    """SceneQA 2's arrays: objects first, then signs; -1 = there is none."""
    return common_fields(grid, per_family * len(FAMILIES), 32) | {
        "items": ((ITEMS, 3), np.int8),  # colour, shape, character
        "place": ((ITEMS, 3), np.float16),  # x, y, radius in pictures
        "text": ((MAX_SIGNS, LONGEST), np.int8),  # characters + 1; 0 = behind the last
    }


def fill(
    row: dict[str, np.ndarray], split: str, index: int, grid: int, per_family: int, tokenizer: Any
) -> None:
    """Draw scene `index` into its row of the arrays."""
    drawn = scene(split, index, grid)
    colours, side = list(COLOURS), drawn.image.shape[0]
    row["image"][...] = drawn.image
    row["owner"][...] = drawn.owner
    row["texture"][...] = GROUNDS.index(drawn.texture)
    row["items"][...] = -1
    for k, item in enumerate(drawn.objects):
        glyph = GLYPHS.index(item.glyph) if item.glyph else -1
        row["items"][k] = colours.index(item.colour), SHAPES.index(item.shape), glyph
        row["place"][k] = np.array([item.x, item.y, item.radius]) / side
    for k, sign in enumerate(drawn.signs):
        row["items"][MAX_OBJECTS + k] = colours.index(sign.colour), -1, -1
        row["place"][MAX_OBJECTS + k] = np.array([sign.x, sign.y, sign.height / 2]) / side
        row["text"][k, : len(sign.text)] = [CHARACTERS.index(c) + 1 for c in sign.text]
    fill_questions(row, questions(drawn, per_family), FAMILIES, tokenizer)
