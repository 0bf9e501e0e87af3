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


def png(figure: Any, dpi: int = 200) -> bytes:
    """A figure's picture; call it in the same `rc_context` as the drawing."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()
