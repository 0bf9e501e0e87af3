"""One figure: the picture, then what each stage kept of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import numpy as np

from stsprune.errors import InvalidArgumentError

from .overlay import dim_dropped

ENDINGS = (".png", ".pdf", ".svg", ".jpg", ".webp")
PAPER, INK, SOFT = "white", "#1b1f24", "#57606a"


def check_target(path: str | os.PathLike[str]) -> None:
    """Raises InvalidArgumentError where no picture can be written."""
    name = os.fspath(path)
    if os.path.isdir(name) or not name.lower().endswith(ENDINGS):
        raise InvalidArgumentError(
            f"picture must be a file that ends in {', '.join(ENDINGS)}, got {name!r}"
        )


def save_stages(
    path: str | os.PathLike[str],
    image: np.ndarray,
    stages: Sequence[tuple[str, Iterable[int]]],
    grid: tuple[int, int],
    *,
    title: str = "",
    subtitle: str = "",
) -> None:
    """Write a picture beside one panel for each stage, its kept patches bright.

    image: uint8 [H, W, 3] as the model saw it; stages: (name, kept grid indices) in order. The
    format follows the ending of `path`; folders that are missing are made.
    Raises InvalidArgumentError where the file cannot be written.
    """
    check_target(path)
    from matplotlib.figure import Figure  # not pyplot: no window, no global state

    total = grid[0] * grid[1]
    panels: list[tuple[str, str, np.ndarray]] = [
        ("the picture", f"{total} visual tokens", dim_dropped(image, range(total), grid))
    ]
    for name, kept in stages:
        index = [int(i) for i in kept]
        share = f"{len(index)} kept · {len(index) / total:.0%}"
        panels.append((name, share, dim_dropped(image, index, grid)))

    wide, head = 3.3, 1.0 if title else 0.55
    tall = wide * grid[0] / grid[1]
    figure = Figure(figsize=(wide * len(panels) + 0.3, tall + head), facecolor=PAPER, dpi=150)
    height = tall + head
    for i, (name, share, pixels) in enumerate(panels):
        left = (0.15 + i * wide + 0.06) / (wide * len(panels) + 0.3)
        width = (wide - 0.12) / (wide * len(panels) + 0.3)
        axes = figure.add_axes((left, 0.1 / height, width, (tall - 0.12) / height))
        axes.imshow(pixels, interpolation="lanczos")
        axes.set_axis_off()
        axes.set_title(name, loc="left", fontsize=11, color=INK, fontweight="bold", pad=6)
        axes.set_title(share, loc="right", fontsize=10, color=SOFT, pad=6)
    left = 0.21 / (wide * len(panels) + 0.3)
    figure.text(left, 1 - 0.33 / height, title, fontsize=14, color=INK, fontweight="bold")
    figure.text(left, 1 - 0.57 / height, subtitle, fontsize=10.5, color=SOFT)
    try:
        os.makedirs(os.path.dirname(os.path.abspath(os.fspath(path))), exist_ok=True)
        figure.savefig(os.fspath(path), facecolor=PAPER)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InvalidArgumentError(f"picture {os.fspath(path)!r}: {reason}") from error
