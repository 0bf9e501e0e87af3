"""The gallery: what every method keeps of the same picture for the same question."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..marks import Theme
from ..overlay import dim_dropped

COLUMNS = 5


def wall_plot(wall: Any, theme: Theme) -> Any:
    """The picture, then one panel per method; `wall`: a `stsprune.evaluation.gallery.Wall`.

    Bright: kept by the first stage; framed: still there after the second.
    """
    from matplotlib.figure import Figure

    if not wall.kept:
        return None
    lines = -(-(len(wall.kept) + 1) // COLUMNS)
    figure = Figure(figsize=(10, 2.4 * lines), layout="constrained")
    grid = figure.subplots(lines, COLUMNS, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    total = wall.grid[0] * wall.grid[1]
    whole = dim_dropped(wall.image, range(total), wall.grid, 288)
    _panel(grid[0], whole, "the picture", f"{total} tokens", theme.ink, theme)
    for axes, kept in zip(grid[1:], wall.kept, strict=False):
        first = kept.stages[0] if kept.stages else tuple(range(total))
        pixels = dim_dropped(wall.image, first, wall.grid, 288)
        counts = " → ".join(str(len(stage)) for stage in kept.stages) or str(total)
        right = kept.answer == wall.wanted
        note = f"{counts}: {kept.answer}{'' if right else ' (wrong)'}"
        _panel(axes, pixels, kept.name, note, theme.soft if right else theme.hues[0], theme)
        if len(kept.stages) > 1:
            _frame(axes, kept.stages[1], wall.grid, pixels.shape[0] // wall.grid[0])
    return figure


def _panel(axes: Any, pixels: np.ndarray, name: str, note: str, colour: str, theme: Theme) -> None:
    axes.imshow(pixels, interpolation="lanczos")
    axes.set_title(name, fontsize=9, pad=13)
    axes.annotate(
        note, (0, 1), (0, 3), "axes fraction", textcoords="offset points", fontsize=8, color=colour
    )


def _frame(axes: Any, kept: tuple[int, ...], grid: tuple[int, int], cell: int) -> None:
    from matplotlib.patches import Rectangle

    for index in kept:
        row, column = divmod(index, grid[1])
        corner = (column * cell + 0.5, row * cell + 0.5)
        axes.add_patch(Rectangle(corner, cell - 2, cell - 2, fill=False, ec="#ffd400", lw=1.3))
