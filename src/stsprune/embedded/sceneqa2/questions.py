"""Questions of SceneQA 2: fifteen families, five of them with answers of several tokens.

Objects are named by colour and shape where only one in the picture has both. Answers are drawn
before the question where the scene allows it, so that guessing does not pay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from math import hypot
from typing import TypeVar

import numpy as np

from ..glyphs import GLYPHS
from ..questions import DIRECTIONS, PLURALS, REGIONS, Question
from ..scenes import COLOURS, HELD_OUT, SHAPES, SceneObject
from .grounds import GROUNDS
from .scenes import Sign, SignedScene, stream

MAX_COUNT = 9
_LISTED = range(2, 6)  # objects whose colours are listed
_GAP = 8  # pixels between two that are listed one after the other
#: How often each count is tried: large ones more, since few scenes have them.
_COUNTS = np.array([1, 1, 1.6, 1.9, 5, 6, 7, 7, 9, 10]) / 49.5
Rng = np.random.Generator
T = TypeVar("T")


def _name(item: SceneObject) -> str:
    return f"{item.colour} {item.shape}"


def _about(
    family: str, text: str, answer: str, items: Iterable[SceneObject | Sign], novel: bool = False
) -> Question:
    items = list(items)
    patches = sorted({patch for item in items for patch in item.patches})
    for item in items:
        pair = isinstance(item, SceneObject) and (item.colour, item.shape) in HELD_OUT
        novel |= pair or (isinstance(item, Sign) and item.novel)
    return Question(family, text, answer, tuple(patches), bool(novel))


def _pick(rng: Rng, items: Sequence[T]) -> T | None:
    return items[int(rng.integers(len(items)))] if items else None


def _single(scene: SignedScene) -> list[SceneObject]:
    """Objects that their colour and shape name alone, and that are to be seen."""
    seen = Counter(_name(item) for item in scene.objects)
    return [item for item in scene.objects if seen[_name(item)] == 1 and item.patches]


def _character(scene: SignedScene, rng: Rng) -> Question | None:
    item = _pick(rng, [item for item in _single(scene) if item.glyph])
    if item is None:
        return None
    return _about("character", f"what character is on the {_name(item)}?", item.glyph, [item])


def _attribute(scene: SignedScene, rng: Rng, family: str) -> Question | None:
    """Colour or shape, asked by the character or by the other attribute where that is unique."""
    other = "shape" if family == "colour" else "colour"
    item = _pick(rng, [item for item in scene.objects if item.glyph and item.patches])
    if item is None:
        return None
    answer, handle = getattr(item, family), getattr(item, other)
    alone = sum(getattr(o, other) == handle for o in scene.objects) == 1
    if alone and rng.random() < 0.5:
        noun = handle if other == "shape" else f"{handle} object"
        return _about(family, f"what {family} is the {noun}?", answer, [item])
    return _about(family, f"what {family} is the object with {item.glyph}?", answer, [item])


def _count(scene: SignedScene, rng: Rng) -> Question | None:
    """Objects of a colour, of a shape, of both, or all; the answer is drawn first."""
    answer = int(rng.choice(MAX_COUNT + 1, p=_COUNTS))
    nouns: list[tuple[str, list[SceneObject]]] = [("objects", list(scene.objects))]
    for colour in COLOURS:
        nouns.append((f"{colour} objects", [o for o in scene.objects if o.colour == colour]))
    for shape in SHAPES:
        nouns.append((PLURALS[shape], [o for o in scene.objects if o.shape == shape]))
    for (colour, shape), count in Counter((o.colour, o.shape) for o in scene.objects).items():
        if count > 1:
            same = [o for o in scene.objects if (o.colour, o.shape) == (colour, shape)]
            nouns.append((f"{colour} {PLURALS[shape]}", same))
    choice = _pick(rng, [noun for noun in nouns if len(noun[1]) == answer])
    if choice is None:
        return None
    return _about("count", f"how many {choice[0]} are there?", str(answer), choice[1])


def _exist(scene: SignedScene, rng: Rng) -> Question | None:
    """No is asked with a colour and a shape that are both present, but not together."""
    if rng.random() < 0.5:
        item = _pick(rng, scene.objects)
        if item is None:
            return None
        return _about("exist", f"is there a {_name(item)}?", "yes", [item])
    present = {(item.colour, item.shape) for item in scene.objects}
    shown = {c for c, _ in present}, {s for _, s in present}
    colours = [c for c in COLOURS if c in shown[0]]
    shapes = [s for s in SHAPES if s in shown[1]]
    absent = _absent(scene, colours, shapes) or _absent(scene, list(COLOURS), shapes)
    pair = _pick(rng, absent)
    if pair is None:
        return None
    near = [o for o in scene.objects if o.colour == pair[0] or o.shape == pair[1]]
    return _about("exist", f"is there a {pair[0]} {pair[1]}?", "no", near, pair in HELD_OUT)


def _absent(scene: SignedScene, colours: list[str], shapes: list[str]) -> list[tuple[str, str]]:
    present = {(item.colour, item.shape) for item in scene.objects}
    hidden = frozenset() if scene.split == "test" else HELD_OUT
    pairs = [(c, s) for c in colours for s in shapes]
    return [pair for pair in pairs if pair not in present and pair not in hidden]


def _relation(scene: SignedScene, rng: Rng) -> Question | None:
    """Left, right, above or below, only where one axis clearly dominates."""
    items = _single(scene)
    wanted = DIRECTIONS[rng.integers(4)]
    pairs = [(a, b) for a in items for b in items if a is not b and _direction(a, b) == wanted]
    choice = _pick(rng, pairs)
    if choice is None:
        return None
    a, b = choice
    text = f"where is the {_name(a)} relative to the {_name(b)}?"
    return _about("relation", text, wanted, [a, b])


def _direction(a: SceneObject, b: SceneObject) -> str | None:
    dx, dy = a.x - b.x, a.y - b.y
    if max(abs(dx), abs(dy)) < 1.4 * min(abs(dx), abs(dy)):
        return None
    if abs(dx) > abs(dy):
        return "left" if dx < 0 else "right"
    return "above" if dy < 0 else "below"


def _where(scene: SignedScene, rng: Rng) -> Question | None:
    size = scene.image.shape[0]
    items = _single(scene)
    clear = [o for o in items if min(abs(o.x / size - 0.5), abs(o.y / size - 0.5)) > 0.05]
    item = _pick(rng, clear)
    if item is None:
        return None
    row = "top" if item.y < size / 2 else "bottom"
    column = "left" if item.x < size / 2 else "right"
    return _about("where", f"where is the {_name(item)}?", f"{row}-{column}", [item])


def _background(scene: SignedScene, rng: Rng) -> Question | None:
    return Question("background", "what is the background?", scene.texture, ())


def _nearest(scene: SignedScene, rng: Rng) -> Question | None:
    """The answer is a colour and a shape; the runner-up is a quarter further away."""
    fitting = []
    for item in _single(scene):
        others = [o for o in scene.objects if o is not item and o.patches]
        ranked = sorted(others, key=lambda other: _apart(item, other))
        if len(ranked) > 1 and _apart(item, ranked[1]) > 1.25 * _apart(item, ranked[0]):
            fitting.append((item, ranked[0]))
    choice = _pick(rng, fitting)
    if choice is None:
        return None
    item, near = choice
    return _about("nearest", f"what is nearest to the {_name(item)}?", _name(near), choice)


def _apart(a: SceneObject, b: SceneObject) -> float:
    return hypot(a.x - b.x, a.y - b.y)


def _between(scene: SignedScene, rng: Rng) -> Question | None:
    """One object near the middle of the line between two, no other near that line."""
    items = _single(scene)
    fitting = []
    for i, a in enumerate(items):
        for b in items[i + 1 :]:
            inside = [o for o in scene.objects if o is not a and o is not b and _near(o, a, b, 0.3)]
            if len(inside) == 1 and inside[0].patches and _near(inside[0], a, b, 0.15):
                fitting.append((a, b, inside[0]))
    choice = _pick(rng, fitting)
    if choice is None:
        return None
    a, b, middle = choice
    if rng.random() < 0.5:
        a, b = b, a
    text = f"what is between the {_name(a)} and the {_name(b)}?"
    return _about("between", text, _name(middle), choice)


def _near(item: SceneObject, a: SceneObject, b: SceneObject, width: float) -> bool:
    """Whether the item lies beside the middle part of a-b, closer than `width` of its length."""
    dx, dy = b.x - a.x, b.y - a.y
    square = dx * dx + dy * dy
    along = ((item.x - a.x) * dx + (item.y - a.y) * dy) / square
    aside = abs((item.x - a.x) * dy - (item.y - a.y) * dx) / square
    edge = 0.25 if width < 0.2 else 0.05
    return edge < along < 1 - edge and aside < width


def _compare(scene: SignedScene, rng: Rng) -> Question | None:
    """Two objects, one a quarter larger; it is named first or second."""
    items = _single(scene)
    pairs = [(a, b) for a in items for b in items if a.radius > 1.25 * b.radius]
    choice = _pick(rng, pairs)
    if choice is None:
        return None
    larger = choice[0]
    a, b = choice if rng.random() < 0.5 else choice[::-1]
    text = f"which is larger, the {_name(a)} or the {_name(b)}?"
    return _about("compare", text, _name(larger), choice)


def _list(scene: SignedScene, rng: Rng) -> Question | None:
    """Colours of all objects, or of those of one shape, from left to right."""
    nouns = [("", list(scene.objects))]
    nouns += [(f" of the {PLURALS[s]}", [o for o in scene.objects if o.shape == s]) for s in SHAPES]
    fitting = [(noun, sorted(o, key=lambda item: item.x)) for noun, o in nouns if _listable(o)]
    choice = _pick(rng, fitting)
    if choice is None:
        return None
    noun, items = choice
    text = f"list the colours{noun} from left to right."
    return _about("list", text, " ".join(item.colour for item in items), items)


def _listable(items: list[SceneObject]) -> bool:
    """Neither too many, nor of one colour, nor one above the other."""
    colours = {item.colour for item in items}
    line = sorted(item.x for item in items)
    seen = all(item.patches for item in items)
    return len(items) in _LISTED and len(colours) > 1 and seen and _spread(line)


def _spread(line: list[float]) -> bool:
    return all(b - a > _GAP for a, b in pairwise(line))


def _sign(scene: SignedScene, rng: Rng, family: str) -> Question | None:
    """What stands on one sign: a word or a number."""
    numbers = family == "number"
    item = _pick(rng, [sign for sign in scene.signs if sign.text[0].isdigit() == numbers])
    if item is None:
        return None
    return _about(family, f"what {family} is on the {item.colour} sign?", item.text, [item])


def _read(scene: SignedScene, rng: Rng) -> Question | None:
    signs = sorted(scene.signs, key=lambda sign: sign.x)
    if len(signs) < 2 or not _spread([sign.x for sign in signs]):
        return None
    text = "read all signs from left to right."
    return _about("read", text, " ".join(sign.text for sign in signs), signs)


_MAKERS: dict[str, Callable[[SignedScene, Rng], Question | None]] = {
    "character": _character,
    "colour": lambda scene, rng: _attribute(scene, rng, "colour"),
    "shape": lambda scene, rng: _attribute(scene, rng, "shape"),
    "count": _count,
    "exist": _exist,
    "relation": _relation,
    "where": _where,
    "background": _background,
    "nearest": _nearest,
    "between": _between,
    "compare": _compare,
    "list": _list,
    "word": lambda scene, rng: _sign(scene, rng, "word"),
    "number": lambda scene, rng: _sign(scene, rng, "number"),
    "read": _read,
}
FAMILIES: tuple[str, ...] = tuple(_MAKERS)
#: Families that ask for one detail of one thing in the picture.
DETAIL = ("character", "colour", "shape", "where", "word", "number")
#: Families whose answers have one token; the others' are spelt or listed.
ANSWERS: dict[str, tuple[str, ...]] = {
    "character": GLYPHS,
    "colour": tuple(COLOURS),
    "shape": SHAPES,
    "count": tuple(str(n) for n in range(MAX_COUNT + 1)),
    "exist": ("yes", "no"),
    "relation": DIRECTIONS,
    "where": REGIONS,
    "background": GROUNDS,
}


def questions(
    scene: SignedScene, per_family: int = 1, families: Sequence[str] = FAMILIES
) -> list[Question]:
    """Up to `per_family` different questions of each family about a scene, deterministic.

    A family gives fewer where the scene cannot support the answer that was drawn for it.
    Raises ValueError for an unknown family.
    """
    out: list[Question] = []
    for family in families:
        if family not in _MAKERS:
            raise ValueError(f"families must be among {', '.join(FAMILIES)}, got {family!r}")
        rng = stream(scene.split, scene.index, 1 + FAMILIES.index(family))
        asked: dict[str, Question] = {}
        for _ in range(per_family):
            question = _MAKERS[family](scene, rng)
            if question is not None:
                asked.setdefault(question.text, question)
        out += asked.values()
    return out
