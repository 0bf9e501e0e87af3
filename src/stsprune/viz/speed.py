"""Time against visual tokens kept, with the floor: the plot of `stsprune bench`."""

from __future__ import annotations

import textwrap
from typing import Any

from .marks import LIGHT, Theme, png, style
from .rows import apart

MAIN, FLOOR, UNPRUNED = "sts", "floor", "unpruned"
LIMIT = "floor, no encoder"
PANEL = 1000  # pixels


def speed_picture(groups: list[dict[str, Any]], title: str, theme: Theme = LIGHT) -> bytes:
    """PNG with one panel per batch; groups: of `stsprune.bench.summary.summarise`."""
    from matplotlib import rc_context

    with rc_context(style(theme)):
        return png(speed_plot(groups, title, theme), PANEL * len(groups))


def speed_plot(groups: list[dict[str, Any]], title: str, theme: Theme) -> Any:
    """The same as a figure of matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2 * len(groups), 4.8), layout="constrained")
    figure.suptitle(textwrap.fill(title, 90 * len(groups)), fontsize=8.5, color=theme.soft)
    for axes, group in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups, strict=True):
        _panel(axes, group, theme)
    return figure


def _panel(axes: Any, group: dict[str, Any], theme: Theme) -> None:
    lines: dict[str, list[tuple[int, dict[str, float]]]] = {}
    for row in group["rows"]:
        tokens = group["tokens"] if row["budget"] is None else row["budget"]
        lines.setdefault(row["name"], []).append((tokens, row["ttft"]))
    whole, limit = lines.pop(UNPRUNED), lines.pop(LIMIT, [])
    floor = sorted(lines.pop(FLOOR, []) + whole, key=lambda point: point[0])
    for name, points in sorted(lines.items(), key=lambda line: line[0] == MAIN):
        first = name == MAIN
        colour = theme.hues[0] if first else theme.soft
        _line(axes, points, name, colour, "o", 2.4 if first else 0.9, 6 if first else 3)
    _line(axes, floor, "floor: only the kept tokens, no pruning code", theme.ink, "s", 1.4, 5)
    if limit:
        _line(axes, limit, "the same with the encoder's output at hand", theme.faint, "s", 1.2, 4)
    level = whole[0][1]["median"]
    axes.axhline(level, color=theme.soft, lw=1, linestyle=(0, (4, 3)), label="unpruned")
    axes.set_title(f"Time to first token, batch {group['batch']}")
    axes.set_xlabel("visual tokens per layer")
    axes.set_ylabel("milliseconds, median and quartiles")
    axes.set_ylim(bottom=0)
    if lines:  # none yet where a run was interrupted early
        _names(axes, lines, group["tokens"], theme)
    handles, names = axes.get_legend_handles_labels()
    shown = {name: handle for name, handle in zip(names, handles, strict=True) if name not in lines}
    axes.legend(shown.values(), shown.keys(), loc="lower right")


def _line(
    axes: Any,
    points: list[tuple[int, dict[str, float]]],
    name: str,
    colour: str,
    marker: str,
    width: float,
    front: int,
) -> None:
    points = sorted(points, key=lambda point: point[0])
    middle = [time["median"] for _, time in points]
    spans = (
        [time["median"] - time["low"] for _, time in points],
        [time["high"] - time["median"] for _, time in points],
    )
    axes.errorbar(
        [tokens for tokens, _ in points],
        middle,
        yerr=spans,
        label=name,
        color=colour,
        lw=width,
        marker=marker,
        markersize=4,
        elinewidth=0.8,
        zorder=front,
    )


def _names(
    axes: Any, lines: dict[str, list[tuple[int, dict[str, float]]]], tokens: int, theme: Theme
) -> None:
    """Each line's name left of its smallest budget, moved apart."""
    ends = {name: min(points, key=lambda point: point[0]) for name, points in lines.items()}
    places = apart([time["median"] for _, time in ends.values()], 0.032 * axes.get_ylim()[1])
    left = min(budget for budget, _ in ends.values())
    for (name, (budget, time)), place in zip(ends.items(), places, strict=True):
        first = name == MAIN
        axes.annotate(
            name,
            (budget, time["median"]),
            (left - 0.05 * tokens, place),
            textcoords="data",
            ha="right",
            va="center",
            fontsize=7,
            fontweight="bold" if first else "normal",
            color=theme.hues[0] if first else theme.soft,
            arrowprops={"arrowstyle": "-", "color": theme.faint, "lw": 0.6, "relpos": (1, 0.5)},
        )
    axes.set_xlim(left - 0.22 * tokens, 1.03 * tokens)
