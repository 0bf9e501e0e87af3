"""How the plots look: two themes, one mark per method, and a figure as PNG."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from .rows import ATTENTION, MAIN, STRUCTURE, Document, leaders, methods


@dataclass(frozen=True)
class Theme:
    """Colours for one kind of page; `hues`: STS, attention-only, structure-only, then leaders."""

    paper: str
    ink: str
    soft: str
    faint: str
    hues: tuple[str, ...]


LIGHT = Theme(
    "#ffffff",
    "#1b1f24",
    "#59636e",
    "#d8dde3",
    ("#c8102e", "#b35900", "#00798c", "#0b5fb0", "#7a3fd1", "#2f7d32"),
)
DARK = Theme(
    "#14181d",
    "#e8ebee",
    "#9aa4af",
    "#363d45",
    ("#ff6b6b", "#f0a04b", "#4dd0d8", "#6cb6ff", "#c297ff", "#7ee787"),
)


@dataclass(frozen=True)
class Mark:
    """One method's colour, line width, marker and place in front of others."""

    colour: str
    width: float = 1.0
    marker: str = "o"
    front: int = 2
    plain: bool = True


def marks(document: Document, theme: Theme) -> dict[str, Mark]:
    """Method -> mark: STS in front, the best baselines coloured, the others muted."""
    out = {name: Mark(theme.soft) for name in methods(document)}
    shown = [MAIN, ATTENTION, STRUCTURE]
    shown += [name for name in leaders(document) if name not in shown]
    for name, hue, marker in zip(shown, theme.hues, "oDs^vP", strict=False):
        if name in out:
            out[name] = Mark(hue, 1.7, marker, 4, plain=False)
    if MAIN in out:
        out[MAIN] = Mark(theme.hues[0], 2.8, "o", 6, plain=False)
    return out


def style(theme: Theme) -> dict[str, Any]:
    """Settings for `matplotlib.rc_context`; nothing outside it changes."""
    return {
        "figure.facecolor": theme.paper,
        "savefig.facecolor": theme.paper,
        "axes.facecolor": theme.paper,
        "axes.edgecolor": theme.faint,
        "axes.labelcolor": theme.soft,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "axes.titlesize": 10,
        "axes.titlecolor": theme.ink,
        "axes.titleweight": "bold",
        "axes.labelsize": 9.5,
        "grid.color": theme.faint,
        "grid.linewidth": 0.6,
        "text.color": theme.ink,
        "xtick.color": theme.faint,
        "ytick.color": theme.faint,
        "xtick.labelcolor": theme.soft,
        "ytick.labelcolor": theme.soft,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "legend.frameon": False,
        "legend.fontsize": 9,
        "font.size": 10,
    }


def png(figure: Any, wide: int) -> bytes:
    """A figure's picture, `wide` pixels; call it in the `rc_context` of the drawing."""
    from PIL import Image

    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=wide / figure.get_figwidth())
    # 256 colours show the same in a third of the bytes.
    Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
        small, format="png", optimize=True
    )
    return small.getvalue()


def legend(
    figure: Any, document: Document, theme: Theme, names: list[str], lines: bool = False
) -> None:
    """Above the panels: the coloured ones of `names`; `lines`: of what is not pruned, too."""
    from matplotlib.lines import Line2D

    looks = marks(document, theme)
    shown = {
        name: Line2D([], [], color=look.colour, lw=look.width, marker=look.marker, markersize=5)
        for name, look in sorted(looks.items(), key=lambda item: -item[1].front)
        if name in names and not look.plain
    }
    if any(looks[name].plain for name in names):
        shown["others"] = Line2D([], [], color=theme.soft, lw=1, alpha=0.55, marker="o")
    if lines:
        dashes = Line2D([], [], color=theme.soft, lw=1, linestyle=(0, (4, 3)))
        shown["unpruned; question only"] = dashes
    figure.legend(shown.values(), shown.keys(), loc="outside upper left", ncols=len(shown))


def label_points(
    axes: Any, points: dict[str, tuple[float, float]], looks: dict[str, Mark], theme: Theme
) -> None:
    """Each point's name on that side where it covers least; call it when the layout is done."""
    from matplotlib.patheffects import withStroke

    size, high = 7.5, 9.0
    scale = 72 / axes.figure.dpi
    spots = {name: axes.transData.transform(point) * scale for name, point in points.items()}
    panel = tuple(axes.bbox.extents * scale)
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in spots.values()]
    for name in sorted(points, key=lambda name: -looks[name].front):
        wide, (x, y), look = 0.56 * size * len(name), spots[name], looks[name]
        corners = [
            (x + 7 if right else x - 7 - wide, y + lift - high / 2)
            for lift in (0, 6, -6, 11, -11)
            for right in (True, False)
        ]
        boxes = [(a, b, a + wide, b + high) for a, b in corners]
        best = min(
            boxes,
            key=lambda box: (
                sum(_overlap(box, other) for other in taken)
                + 3 * (_area(box) - _overlap(box, panel))
            ),
        )
        taken.append(best)
        axes.annotate(
            name,
            points[name],
            (best[0] - x, (best[1] + best[3]) / 2 - y),
            textcoords="offset points",
            va="center",
            fontsize=size,
            fontweight="bold" if name == MAIN else "normal",
            color=look.colour,
            path_effects=[withStroke(linewidth=2, foreground=theme.paper)],
            zorder=look.front,
            in_layout=False,
        )


def _overlap(one: tuple[float, ...], two: tuple[float, ...]) -> float:
    wide = min(one[2], two[2]) - max(one[0], two[0])
    high = min(one[3], two[3]) - max(one[1], two[1])
    return max(0.0, wide) * max(0.0, high)


def _area(box: tuple[float, ...]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
