"""Scenes of SceneQA 2, deterministic in (split, index, grid).

1 to 16 objects of many sizes, some partly covered by others, some alike; up to three signs with a
word or a number; large loud distractors; eight kinds of background. A third of the scenes each
hold few (1 to 4), some (5 to 9) and many (10 to 16) objects: a mixed set for budgets that follow
the picture. Splits draw from disjoint streams; colour and shape pairs (`scenes.HELD_OUT`) and an
eighth of all words and numbers occur in the test split only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..glyphs import GLYPHS
from ..scenes import (
    COLOURS,
    HELD_OUT,
    PATCH,
    SHAPES,
    SPLITS,
    Scene,
    SceneObject,
    distractor,
    signed_distance,
    window,
)
from .atlas import FONTS, ink
from .grounds import GROUNDS, ground
from .words import held_out, sign_text

GRID = 24
CROWDS: dict[str, tuple[int, int]] = {"few": (1, 4), "some": (5, 9), "many": (10, 16)}
MAX_OBJECTS, MAX_SIGNS = 16, 3
LEGIBLE = 9.0  # pixels: smaller objects bear no character
_GROUND, _LOUD = -1, -2


@dataclass(frozen=True)
class Sign:
    """A sign; `x`, `y` its middle, `width`, `height` in pixels, `patches` = grid indices."""

    colour: str
    text: str
    x: float
    y: float
    width: float
    height: float
    patches: tuple[int, ...]

    @property
    def novel(self) -> bool:
        """Whether training never shows this text."""
        return held_out(self.text)


@dataclass(frozen=True)
class SignedScene(Scene):
    """A scene with signs. Objects without a character have glyph "".

    owner: as in `Scene`, and MAX_OBJECTS + k where sign k covers most of the patch.
    """

    signs: tuple[Sign, ...] = ()
    crowd: str = "some"


def stream(split: str, index: int, purpose: int) -> np.random.Generator:
    """The random stream of one scene; `purpose` keeps picture and questions independent."""
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    if index < 0:
        raise ValueError(f"index must be >= 0, got {index}")
    return np.random.default_rng([2, SPLITS[split], index, purpose])


def scene(split: str, index: int, grid: int = GRID) -> SignedScene:
    """Draw scene `index` of `split`, `grid` x `grid` visual tokens large.

    Raises ValueError for an unknown split, a negative index or a grid below 16.
    """
    if grid < 16:
        raise ValueError(f"grid must be >= 16, got {grid}")
    rng = stream(split, index, 0)
    size = grid * PATCH
    texture = GROUNDS[rng.integers(len(GROUNDS))]
    image = ground(rng, texture, size)
    label = np.full((size, size), _GROUND, np.int8)  # what is seen at each pixel
    crowd = tuple(CROWDS)[index % len(CROWDS)]

    boxes: list[tuple[float, float, float, float]] = []  # middle and half sizes
    plates = _plan_signs(rng, split, boxes, size)
    circles: list[tuple[float, float, float]] = []
    for _ in range(int(rng.integers(1, 4))):
        _settle(rng, boxes, circles, rng.uniform(12, 20), size, False)
    for x, y, radius in circles:
        rows, cols, u, v = window(x, y, radius * 1.15, size)
        outline, paint = distractor(rng, u / radius, v / radius)
        _lay(image, label, rows, cols, np.clip(0.5 - outline * radius, 0, 1), paint, _LOUD)

    loud = len(circles)
    low, high = CROWDS[crowd]
    for _ in range(int(rng.integers(low, high + 1))):
        small = rng.random() < 0.25
        radius = rng.uniform(6.5, 9) if small else rng.uniform(9, 16.5)
        _settle(rng, boxes, circles, radius, size, rng.random() < 0.3)
    circles = circles[loud:]
    looks = _identities(rng, len(circles), split)
    glyphs = [GLYPHS[i] for i in rng.permutation(len(GLYPHS))]
    bears = [
        glyph if r >= LEGIBLE else "" for glyph, (_, _, r) in zip(glyphs, circles, strict=False)
    ]
    for k, ((colour, shape), glyph, (x, y, radius)) in enumerate(
        zip(looks, bears, circles, strict=True)
    ):
        rows, cols, u, v = window(x, y, radius * 1.3, size)
        alpha = np.clip(0.5 - signed_distance(shape, u / radius, v / radius) * radius, 0, 1)
        paint = np.array(COLOURS[colour], np.float32) * rng.uniform(0.85, 1.05)
        _lay(image, label, rows, cols, alpha, paint + rng.uniform(-12, 12, 3), k)
        if glyph:
            _write(image, glyph, int(rng.integers(len(FONTS))), x, y, round(radius * 1.05))
    for k, (colour, text, x, y, half_width, half_height) in enumerate(plates):
        rows = slice(int(y - half_height), int(y + half_height))
        cols = slice(int(x - half_width), int(x + half_width))
        paint = np.array(COLOURS[colour], np.float32) * rng.uniform(0.85, 1.0)
        image[rows, cols] = paint * 0.55
        image[rows.start + 1 : rows.stop - 1, cols.start + 1 : cols.stop - 1] = paint
        label[rows, cols] = MAX_OBJECTS + k
        _write(image, text, int(rng.integers(len(FONTS))), x, y, int(half_height * 2) - 5)

    owner = _owners(label, grid)
    objects = tuple(
        SceneObject(c, s, g, x, y, r, _patches(owner, k))
        for k, ((c, s), g, (x, y, r)) in enumerate(zip(looks, bears, circles, strict=True))
    )
    signs = tuple(
        Sign(c, text, x, y, 2 * w, 2 * h, _patches(owner, MAX_OBJECTS + k))
        for k, (c, text, x, y, w, h) in enumerate(plates)
    )
    image += rng.standard_normal((size, size, 1)) * 3
    pixels = np.clip(image, 0, 255).astype(np.uint8)
    return SignedScene(pixels, objects, texture, owner, grid, split, index, signs, crowd)


def _plan_signs(
    rng: np.random.Generator,
    split: str,
    boxes: list[tuple[float, float, float, float]],
    size: int,
) -> list[tuple[str, str, float, float, float, float]]:
    """(colour, text, middle, half sizes) of each sign, none over another."""
    from .text import known_words

    colours = [list(COLOURS)[i] for i in rng.permutation(len(COLOURS))]
    plates = []
    for colour in colours[: int(rng.integers(0, MAX_SIGNS + 1))]:
        text = sign_text(rng, split, known_words())
        height = int(rng.integers(10, 15))
        w, h = (len(text) * _advance(height) + 6) / 2, (height + 5) / 2
        for _ in range(20):
            x, y = np.floor(rng.uniform((w, h), (size - w, size - h)))
            if all(abs(x - a) > w + c + 2 or abs(y - b) > h + d + 2 for a, b, c, d in boxes):
                boxes.append((x, y, w, h))
                plates.append((colour, text, float(x), float(y), w, h))
                break
    return plates


def _advance(height: int) -> int:
    return round(height * 0.72)


def _settle(
    rng: np.random.Generator,
    boxes: list[tuple[float, float, float, float]],
    circles: list[tuple[float, float, float]],
    radius: float,
    size: int,
    may_cover: bool,
) -> None:
    """Find a place off the signs; objects that may cover reach over a quarter of another."""
    for _ in range(25):
        x, y = rng.uniform(radius, size - radius, 2)
        if any(abs(x - a) < radius + w and abs(y - b) < radius + h for a, b, w, h in boxes):
            continue
        reach = 0.78 if may_cover else 1.05
        if all((x - a) ** 2 + (y - b) ** 2 > (reach * (radius + r)) ** 2 for a, b, r in circles):
            circles.append((float(x), float(y), radius))
            return


def _identities(rng: np.random.Generator, count: int, split: str) -> list[tuple[str, str]]:
    """(colour, shape) of each object: mostly different, in half the scenes one sort repeats."""
    pairs = [(c, s) for c in COLOURS for s in SHAPES]
    if split != "test":
        pairs = [pair for pair in pairs if pair not in HELD_OUT]
    rng.shuffle(pairs)
    repeat = int(rng.integers(2, 10)) if rng.random() < 0.6 else 0
    kind = rng.integers(3)  # alike in colour, in shape or in both
    first = pairs[0]
    alike = [first] if kind == 2 else [pair for pair in pairs if pair[kind] == first[kind]]
    chosen = [alike[i % len(alike)] for i in range(repeat)]
    chosen += pairs[1:] if kind == 2 else pairs
    chosen = chosen[:count]
    return [chosen[i] for i in rng.permutation(len(chosen))]


def _lay(
    image: np.ndarray,
    label: np.ndarray,
    rows: slice,
    cols: slice,
    alpha: np.ndarray,
    paint: np.ndarray,
    number: int,
) -> None:
    image[rows, cols] += alpha[..., None] * (paint - image[rows, cols])
    label[rows, cols][alpha > 0.5] = number


def _write(image: np.ndarray, text: str, font: int, x: float, y: float, height: int) -> None:
    """Dark characters, `height` pixels tall, around (x, y)."""
    wide = _advance(height)
    drawn = ink(text, font, height, wide)[..., None]
    top, left = round(y - height / 2), round(x - wide * len(text) / 2)
    top, left = max(top, 0), max(left, 0)
    part = image[top : top + height, left : left + drawn.shape[1]]
    drawn = drawn[: part.shape[0], : part.shape[1]]
    part += drawn * (15 - part)


def _owners(label: np.ndarray, grid: int) -> np.ndarray:
    """What covers most of each patch; -3 where too little of it is covered to tell."""
    kinds = MAX_OBJECTS + MAX_SIGNS + 2
    cells = label.reshape(grid, PATCH, grid, PATCH).transpose(0, 2, 1, 3).reshape(grid * grid, -1)
    flat = np.arange(grid * grid)[:, None] * kinds + cells + 2
    counts = np.bincount(flat.ravel(), minlength=grid * grid * kinds).reshape(-1, kinds)
    open_ground = counts[:, _GROUND + 2].copy()
    counts[:, _GROUND + 2] = 0
    owner = counts.argmax(1) - 2
    owner = np.where(counts.max(1) < PATCH * PATCH // 4, -3, owner)
    return np.where(open_ground > 0.92 * PATCH * PATCH, -1, owner).astype(np.int16)


def _patches(owner: np.ndarray, number: int) -> tuple[int, ...]:
    return tuple(np.flatnonzero(owner == number).tolist())
