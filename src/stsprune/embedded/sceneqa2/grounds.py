"""Backgrounds: the five drawn textures of SceneQA and three that look like photographs."""

from __future__ import annotations

import numpy as np

from ..scenes import TEXTURES, background

GROUNDS: tuple[str, ...] = (*TEXTURES, "cloudy", "graded", "cluttered")


def ground(rng: np.random.Generator, name: str, size: int) -> np.ndarray:
    """Float32 [size, size, 3], dark enough for the objects to stand out."""
    if name in TEXTURES:
        return background(rng, name, size)
    base = rng.uniform(40, 85) + rng.uniform(-20, 20, 3)
    if name == "cloudy":
        level = _natural(rng, size) * rng.uniform(16, 26)
        tint = rng.uniform(0.6, 1.4, 3)
        picture = base + level[..., None] * tint
    elif name == "graded":
        picture = base + _graded(rng, size)
    else:
        picture = base + _clutter(rng, size)
    picture = picture + rng.standard_normal((size, size, 1)) * 2.5
    return np.clip(picture, 0, 160).astype(np.float32)


def _natural(rng: np.random.Generator, size: int) -> np.ndarray:
    """Noise whose amplitude falls as 1 / frequency, as in photographs: mean 0, deviation 1."""
    y, x = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]
    fall = 1 / np.maximum(np.hypot(x, y), 1 / size) ** rng.uniform(1.1, 1.5)
    fall[0, 0] = 0
    waves = rng.standard_normal((2, *fall.shape))
    noise = np.fft.irfft2((waves[0] + 1j * waves[1]) * fall, (size, size))
    return noise / noise.std()


def _graded(rng: np.random.Generator, size: int) -> np.ndarray:
    """A strong slope of light between two colours."""
    line = np.linspace(-1, 1, size)
    angle = rng.uniform(0, 2 * np.pi)
    slope = line[None] * np.cos(angle) + line[:, None] * np.sin(angle)
    return slope[..., None] * rng.uniform(20, 50, 3) * rng.choice([-1, 1], 3)


def _clutter(rng: np.random.Generator, size: int) -> np.ndarray:
    """Many dull rectangles and bars, one over the other."""
    picture = np.zeros((size, size, 3))
    for _ in range(int(rng.integers(30, 50))):
        x, y = rng.integers(0, size, 2)
        long, short = int(rng.integers(8, 44)), int(rng.integers(3, 12))
        w, h = (long, short) if rng.random() < 0.5 else (short, long)
        picture[y : y + h, x : x + w] = rng.uniform(-32, 32) + rng.uniform(-12, 12, 3)
    return picture
