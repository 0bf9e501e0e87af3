"""SceneQA questions: eight families whose answers are balanced, so that guessing does not pay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .glyphs import GLYPHS
from .scenes import COLOURS, HELD_OUT, SHAPES, TEXTURES, Scene, SceneObject, scene_rng

DIRECTIONS = ("left", "right", "above", "below")
REGIONS = ("top-left", "top-right", "bottom-left", "bottom-right")
MAX_COUNT = 3
PLURALS = {"cross": "crosses"} | {s: f"{s}s" for s in SHAPES if s != "cross"}


@dataclass(frozen=True)
class Question:
    """A question with its one-word answer.

    patches: ascending grid indices that the answer depends on (empty: the whole picture);
    novel: it names or asks about a (colour, shape) pair that training never shows.
    """

    family: str
    text: str
    answer: str
    patches: tuple[int, ...]
    novel: bool = False


def _name(item: SceneObject) -> str:
    return f"{item.colour} {item.shape}"


def _about(family: str, text: str, answer: str, *items: SceneObject) -> Question:
    patches = sorted({patch for item in items for patch in item.patches})
    novel = any((item.colour, item.shape) in HELD_OUT for item in items)
    return Question(family, text, answer, tuple(patches), novel)


def _pick(rng: np.random.Generator, items: Sequence[Any]) -> Any:
    return items[int(rng.integers(len(items)))] if items else None


def _character(scene: Scene, rng: np.random.Generator) -> Question | None:
    item = _pick(rng, scene.objects)
    return item and _about(
        "character", f"what character is on the {_name(item)}?", item.glyph, item
    )


def _attribute(scene: Scene, rng: np.random.Generator, family: str) -> Question | None:
    """Colour or shape, asked by the character or by the other attribute where that is unique."""
    other = "shape" if family == "colour" else "colour"
    item = _pick(rng, scene.objects)
    if item is None:
        return None
    answer, handle = getattr(item, family), getattr(item, other)
    alone = sum(getattr(o, other) == handle for o in scene.objects) == 1
    if alone and rng.random() < 0.5:
        noun = handle if other == "shape" else f"{handle} object"
        return _about(family, f"what {family} is the {noun}?", answer, item)
    return _about(family, f"what {family} is the object with {item.glyph}?", answer, item)


def _count(scene: Scene, rng: np.random.Generator) -> Question | None:
    """The answer is drawn first and uniformly; scenes that cannot give it are passed over."""
    answer = int(rng.integers(0, MAX_COUNT + 1))
    tallies: list[tuple[str, str]] = []
    for attribute, values in (("colour", tuple(COLOURS)), ("shape", SHAPES)):
        seen = Counter(getattr(item, attribute) for item in scene.objects)
        tallies += [(attribute, value) for value in values if seen[value] == answer]
    choice = _pick(rng, tallies)
    if choice is None:
        return None
    attribute, value = choice
    items = [item for item in scene.objects if getattr(item, attribute) == value]
    noun = PLURALS[value] if attribute == "shape" else f"{value} objects"
    return _about("count", f"how many {noun} are there?", str(answer), *items)


def _exist(scene: Scene, rng: np.random.Generator) -> Question | None:
    """No is asked with a colour and a shape that are both present, but not together."""
    if rng.random() < 0.5:
        item = _pick(rng, scene.objects)
        return item and _about("exist", f"is there a {_name(item)}?", "yes", item)
    present = {(item.colour, item.shape) for item in scene.objects}
    colours = sorted({c for c, _ in present})
    shapes = sorted({s for _, s in present})
    absent = _absent(scene, colours, shapes) or _absent(scene, list(COLOURS), shapes)
    pair = _pick(rng, absent)
    if pair is None:
        return None
    near = [item for item in scene.objects if item.colour == pair[0] or item.shape == pair[1]]
    question = _about("exist", f"is there a {pair[0]} {pair[1]}?", "no", *near)
    return Question("exist", question.text, "no", question.patches, pair in HELD_OUT)


def _absent(scene: Scene, colours: list[str], shapes: list[str]) -> list[tuple[str, str]]:
    present = {(item.colour, item.shape) for item in scene.objects}
    hidden = frozenset() if scene.split == "test" else HELD_OUT
    pairs = [(c, s) for c in colours for s in shapes]
    return [pair for pair in pairs if pair not in present and pair not in hidden]


def _relation(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Left, right, above or below, only where one axis clearly dominates."""
    pairs = [(a, b) for a in scene.objects for b in scene.objects if a is not b]
    wanted = DIRECTIONS[rng.integers(4)]
    fitting = [(a, b) for a, b in pairs if _direction(a, b) == wanted]
    choice = _pick(rng, fitting)
    if choice is None:
        return None
    a, b = choice
    text = f"where is the {_name(a)} relative to the {_name(b)}?"
    return _about("relation", text, wanted, a, b)


def _direction(a: SceneObject, b: SceneObject) -> str | None:
    dx, dy = a.x - b.x, a.y - b.y
    if max(abs(dx), abs(dy)) < 1.4 * min(abs(dx), abs(dy)):
        return None
    if abs(dx) > abs(dy):
        return "left" if dx < 0 else "right"
    return "above" if dy < 0 else "below"


def _where(scene: Scene, rng: np.random.Generator) -> Question | None:
    size = scene.image.shape[0]
    clear = [o for o in scene.objects if min(abs(o.x / size - 0.5), abs(o.y / size - 0.5)) > 0.05]
    item = _pick(rng, clear)
    if item is None:
        return None
    row = "top" if item.y < size / 2 else "bottom"
    column = "left" if item.x < size / 2 else "right"
    return _about("where", f"where is the {_name(item)}?", f"{row}-{column}", item)


def _background(scene: Scene, rng: np.random.Generator) -> Question | None:
    return Question("background", "what is the background?", scene.texture, ())


_MAKERS: dict[str, Callable[[Scene, np.random.Generator], Question | None]] = {
    "character": _character,
    "colour": lambda scene, rng: _attribute(scene, rng, "colour"),
    "shape": lambda scene, rng: _attribute(scene, rng, "shape"),
    "count": _count,
    "exist": _exist,
    "relation": _relation,
    "where": _where,
    "background": _background,
}
FAMILIES: tuple[str, ...] = tuple(_MAKERS)
ANSWERS: dict[str, tuple[str, ...]] = {
    "character": GLYPHS,
    "colour": tuple(COLOURS),
    "shape": SHAPES,
    "count": tuple(str(n) for n in range(MAX_COUNT + 1)),
    "exist": ("yes", "no"),
    "relation": DIRECTIONS,
    "where": REGIONS,
    "background": TEXTURES,
}


def questions(
    scene: Scene, per_family: int | dict[str, int] = 1, families: Sequence[str] = FAMILIES
) -> list[Question]:
    """Up to `per_family` different questions of each family about a scene, deterministic.

    A family gives fewer where the scene cannot support the answer that was drawn for it.
    Raises ValueError for an unknown family.
    """
    out: list[Question] = []
    for family in families:
        if family not in _MAKERS:
            raise ValueError(f"families must be among {', '.join(FAMILIES)}, got {family!r}")
        wanted = per_family if isinstance(per_family, int) else per_family.get(family, 0)
        rng = scene_rng(scene.split, scene.index, 1 + FAMILIES.index(family))
        asked: dict[str, Question] = {}
        for _ in range(wanted):
            question = _MAKERS[family](scene, rng)
            if question is not None:
                asked.setdefault(question.text, question)
        out += asked.values()
    return out
