"""SceneQA scenes: procedural pictures, deterministic in (split, index, grid).

Objects of several shapes, colours and sizes, each bearing a character, lie on a textured
background beside large salient distractors that no question asks about. Train, validation and
test draw from disjoint random streams, and the pairs in `HELD_OUT` occur in the test split only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .glyphs import BITMAPS, GLYPHS

PATCH = 8  # pixels per side of a visual token

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (225, 40, 40),
    "green": (50, 190, 60),
    "blue": (70, 110, 255),
    "yellow": (245, 225, 50),
    "purple": (165, 70, 205),
    "orange": (250, 140, 30),
    "cyan": (60, 215, 225),
    "white": (245, 245, 245),
}
SHAPES: tuple[str, ...] = ("circle", "square", "triangle", "star", "diamond", "cross")
TEXTURES: tuple[str, ...] = ("plain", "striped", "dotted", "checkered", "noisy")
SPLITS: dict[str, int] = {"train": 1, "validation": 2, "test": 3}

#: (colour, shape) pairs that no training or validation scene contains
HELD_OUT: frozenset[tuple[str, str]] = frozenset(
    {
        ("red", "diamond"),
        ("green", "star"),
        ("blue", "cross"),
        ("yellow", "circle"),
        ("purple", "square"),
        ("orange", "triangle"),
    }
)


@dataclass(frozen=True)
class SceneObject:
    """One object; `x`, `y`, `radius` in pixels, `patches` = grid indices it covers."""

    colour: str
    shape: str
    glyph: str
    x: float
    y: float
    radius: float
    patches: tuple[int, ...]


@dataclass(frozen=True)
class Scene:
    """A picture and what is in it.

    image: uint8 [grid * PATCH, grid * PATCH, 3]; owner: int16 [grid * grid], the index of the
    object that covers most of the patch, -1 for background, -2 for a distractor, -3 for an edge
    patch that belongs clearly to neither.
    """

    image: np.ndarray
    objects: tuple[SceneObject, ...]
    texture: str
    owner: np.ndarray
    grid: int
    split: str
    index: int


def scene_rng(split: str, index: int, purpose: int) -> np.random.Generator:
    """The random stream of one scene; `purpose` keeps picture and questions independent."""
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    if index < 0:
        raise ValueError(f"index must be >= 0, got {index}")
    return np.random.default_rng([SPLITS[split], index, purpose])


def signed_distance(shape: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Distance to the outline in units of the radius, negative inside; u right, v down."""
    au, av = np.abs(u), np.abs(v)
    if shape == "circle":
        return np.sqrt(u * u + v * v) - 0.98
    if shape == "square":
        return np.maximum(au, av) - 0.82
    if shape == "diamond":
        return (au + av) * 0.7071 - 0.8
    if shape == "triangle":
        return np.maximum(v, 0.866 * au - 0.5 * v) - 0.62
    if shape == "cross":
        return np.minimum(np.maximum(au - 1.08, av - 0.42), np.maximum(av - 1.08, au - 0.42))
    fold = np.abs(np.mod(np.arctan2(u, -v), 0.4 * np.pi) - 0.2 * np.pi) / (0.2 * np.pi)
    return (np.sqrt(u * u + v * v) - (0.58 + 0.6 * fold)) * 0.75


def _glyph(name: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Ink in [0, 1] of a character one radius tall, bilinear between the font's dots."""
    bitmap = BITMAPS[name]
    row = np.clip(v * 7.0 + 4.0, 0, 7.999)
    col = np.clip(u * 7.0 + 3.0, 0, 5.999)
    r0, c0 = row.astype(np.int64), col.astype(np.int64)
    fr, fc = row - r0, col - c0
    top = bitmap[r0, c0] * (1 - fc) + bitmap[r0, c0 + 1] * fc
    bottom = bitmap[r0 + 1, c0] * (1 - fc) + bitmap[r0 + 1, c0 + 1] * fc
    return np.clip(((top * (1 - fr) + bottom * fr) - 0.5) * 2.5 + 0.5, 0, 1)


def background(rng: np.random.Generator, texture: str, size: int) -> np.ndarray:
    base = rng.uniform(35, 85) + rng.uniform(-14, 14, 3)
    yy, xx = np.mgrid[0:size, 0:size].astype(np.float32)
    angle, period, phase = rng.uniform(0, np.pi), rng.uniform(6, 11), rng.uniform(0, 6.28)
    along = xx * np.cos(angle) + yy * np.sin(angle)
    across = yy * np.cos(angle) - xx * np.sin(angle)
    wave, cross_wave = (np.sin(t * (2 * np.pi / period) + phase) for t in (along, across))
    if texture == "striped":
        pattern = np.clip(wave * 3, -1, 1)
    elif texture == "dotted":
        pattern = np.clip((wave + cross_wave - 0.9) * 3, -1, 1)
    elif texture == "checkered":
        pattern = np.clip(wave * cross_wave * 6, -1, 1)
    elif texture == "noisy":
        pattern = rng.standard_normal((size, size))
    else:
        pattern = np.zeros((size, size))
    shade = (xx - size / 2) * rng.uniform(-0.2, 0.2) + (yy - size / 2) * rng.uniform(-0.2, 0.2)
    level = pattern * rng.uniform(11, 18) + shade + rng.standard_normal((size, size)) * 2.5
    return (base[None, None] + level[..., None]).astype(np.float32)


def distractor(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> tuple:
    """Coverage [h, w] and paint [h, w, 3] of a loud blob: rings, rays, bars or mosaic."""
    radius, angle = np.sqrt(u * u + v * v), np.arctan2(v, u)
    kind, twist = rng.integers(4), rng.uniform(0, 6.28)
    if kind == 0:
        band = np.floor(radius * rng.uniform(3.5, 5) + twist)
    elif kind == 1:
        band = np.floor((angle + twist) * rng.integers(3, 6) / np.pi)
    elif kind == 2:
        band = np.floor((u * np.cos(twist) + v * np.sin(twist)) * rng.uniform(2.5, 4))
    else:
        band = np.floor(u * 3 + twist) * 3 + np.floor(v * 3 + twist)
    paint = rng.integers(0, 256, (5, 3)).astype(np.float32)
    outline = radius - 1 - 0.1 * np.sin(angle * rng.integers(2, 7) + twist)
    return outline, paint[np.mod(band.astype(np.int64), 5)]


def window(
    x: float, y: float, reach: float, size: int
) -> tuple[slice, slice, np.ndarray, np.ndarray]:
    x0, x1 = max(0, int(x - reach)), min(size, int(x + reach) + 2)
    y0, y1 = max(0, int(y - reach)), min(size, int(y + reach) + 2)
    v, u = np.mgrid[y0:y1, x0:x1].astype(np.float32) + 0.5
    return slice(y0, y1), slice(x0, x1), u - x, v - y


def place_circle(rng: np.random.Generator, taken: list, radius: float, size: int) -> bool:
    for _ in range(30):
        x, y = rng.uniform(radius, size - radius, 2)
        if all((x - a) ** 2 + (y - b) ** 2 > (radius + r + 1) ** 2 for a, b, r in taken):
            taken.append((x, y, radius))
            return True
    return False


def _identities(rng: np.random.Generator, count: int, split: str) -> list[tuple[str, str]]:
    """Distinct (colour, shape) pairs; one narrow palette makes colours or shapes repeat."""
    colours, shapes = list(COLOURS), list(SHAPES)
    narrow, wide = int(rng.integers(1, 4)), int(rng.integers(4, 7))
    few_colours = rng.random() < 0.5
    palette = rng.choice(len(colours), narrow if few_colours else wide, replace=False)
    forms = rng.choice(len(shapes), wide if few_colours else narrow, replace=False)
    pairs = [(colours[c], shapes[s]) for c in palette for s in forms]
    if split != "test":
        pairs = [pair for pair in pairs if pair not in HELD_OUT]
    rng.shuffle(pairs)
    return pairs[:count]


def scene(split: str, index: int, grid: int = 12) -> Scene:
    """Draw scene `index` of `split` on a `grid` x `grid` canvas of visual tokens.

    Raises ValueError for an unknown split, a negative index or a grid below 8.
    """
    if grid < 8:
        raise ValueError(f"grid must be >= 8, got {grid}")
    rng = scene_rng(split, index, 0)
    size = grid * PATCH
    texture = TEXTURES[rng.integers(len(TEXTURES))]
    image = background(rng, texture, size)
    scale = grid / 12
    wanted = int(rng.integers(round(4 * scale), round(7 * scale) + 1))
    loud = int(rng.integers(1, round(2 * scale) + 1))

    taken: list[tuple[float, float, float]] = []
    for _ in range(loud):
        place_circle(rng, taken, rng.uniform(13, 18), size)
    loud = len(taken)
    coverage = [np.zeros((grid, grid), np.float32)]
    for x, y, radius in taken:
        rows, cols, u, v = window(x, y, radius * 1.15, size)
        outline, paint = distractor(rng, u / radius, v / radius)
        alpha = np.clip(0.5 - outline * radius, 0, 1)
        image[rows, cols] += alpha[..., None] * (paint - image[rows, cols])
        coverage[0] += _patch_mean(alpha, rows, cols, grid)

    for _ in range(wanted):
        place_circle(rng, taken, rng.uniform(9.5, 14), size)
    pairs = _identities(rng, len(taken) - loud, split)
    glyphs = [GLYPHS[i] for i in rng.permutation(len(GLYPHS))[: len(pairs)]]
    for (colour, shape), glyph, (x, y, radius) in zip(pairs, glyphs, taken[loud:], strict=False):
        rows, cols, u, v = window(x, y, radius * 1.3, size)
        alpha = np.clip(0.5 - signed_distance(shape, u / radius, v / radius) * radius, 0, 1)
        paint = np.array(COLOURS[colour], np.float32) * rng.uniform(0.85, 1.05)
        paint = paint + rng.uniform(-12, 12, 3)
        ink = _glyph(glyph, u / radius, v / radius)[..., None]
        image[rows, cols] += alpha[..., None] * (paint * (1 - ink) + 15 * ink - image[rows, cols])
        coverage.append(_patch_mean(alpha, rows, cols, grid))

    owner = _owners(np.stack(coverage))
    objects = tuple(
        SceneObject(c, s, g, x, y, r, tuple(np.flatnonzero(owner == i).tolist()))
        for i, ((c, s), g, (x, y, r)) in enumerate(zip(pairs, glyphs, taken[loud:], strict=False))
    )
    pixels = np.clip(image, 0, 255).astype(np.uint8)
    return Scene(pixels, objects, texture, owner, grid, split, index)


def _patch_mean(alpha: np.ndarray, rows: slice, cols: slice, grid: int) -> np.ndarray:
    canvas = np.zeros((grid * PATCH, grid * PATCH), np.float32)
    canvas[rows, cols] = alpha
    return canvas.reshape(grid, PATCH, grid, PATCH).mean((1, 3))


def _owners(coverage: np.ndarray) -> np.ndarray:
    """[1 + objects, grid, grid] covered shares -> owner per patch (see Scene)."""
    flat = coverage.reshape(len(coverage), -1)
    best, share = flat.argmax(0), flat.max(0)
    owner = np.where(best == 0, -2, best - 1)
    owner = np.where(share < 0.25, -3, owner)
    return np.where(flat.sum(0) < 0.08, -1, owner).astype(np.int16)
