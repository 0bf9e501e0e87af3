"""The report of an evaluation: pictures beside one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..atomic import write_bytes, write_text
from . import tables
from .accuracy import accuracy_plot, family_plot
from .findings import findings
from .marks import DARK, LIGHT, Theme, png, style
from .page import code, facts, folded, page, paragraph, picture, sentences
from .rows import Document, budgets

#: File name -> drawing, what it shows, and how to read it.
Plot = Callable[[Document, Theme], Any]
ACCURACY: tuple[tuple[str, Plot, str, str], ...] = (
    (
        "accuracy",
        accuracy_plot,
        "Accuracy against budget",
        "All methods answer the same questions with the same average number of visual tokens per "
        "decoder layer. Bars: 95 % bootstrap intervals over pictures.",
    ),
    (
        "families",
        family_plot,
        "Accuracy against budget per question family",
        "",
    ),
)


def save_report(out: Path, document: Document, walls: Sequence[Any]) -> None:
    """Write `out`/report.html and the plots it holds as `out`/*.png.

    document: what `stsprune.evaluation.summary.summarise` returns; walls: `Wall`s, see
    `stsprune.evaluation.gallery`. A plot whose figures are missing is left out.
    """
    parts = [
        ("Findings", sentences(findings(document))),
        ("Accuracy", _plots(out, document, ACCURACY) + tables.overview(document) + _legend()),
        ("Figures at each budget", _details(document)),
        ("How it was made", _origin(document)),
    ]
    title = f"stsprune eval: SceneQA, {document['split']} split"
    lead = (
        f"{document['questions']:,} questions, {document['visual_tokens']} visual tokens and "
        f"{document['layers']} decoder layers unpruned."
    )
    write_text(out / "report.html", page(title, lead, parts))


def _plots(out: Path, document: Document, plots: Sequence[tuple[str, Plot, str, str]]) -> str:
    shown = []
    for file, draw, name, note in plots:
        pictures = [render(draw, document, theme) for theme in (LIGHT, DARK)]
        if pictures[0] is None or pictures[1] is None:
            continue
        write_bytes(out / f"{file}.png", pictures[0])
        shown.append(picture(pictures[0], pictures[1], name, note))
    return "\n".join(shown)


def render(draw: Plot, document: Document, theme: Theme) -> bytes | None:
    """A plot as PNG; None where the document has nothing to draw."""
    from matplotlib import rc_context

    with rc_context(style(theme)):
        figure = draw(document, theme)
        return None if figure is None else png(figure)


def _legend() -> str:
    return paragraph(
        "Accuracy in %, with its 95 % interval. * p < 0.05, ** p < 0.01, *** p < 0.001: the exact "
        "McNemar test of STS with this method at this budget, corrected by Holm over the methods; "
        "it says that they differ, in either direction. -: the method cannot reach the budget."
    )


def _details(document: Document) -> str:
    return "\n".join(
        folded(f"{budget} tokens: {what}", make(document, budget))
        for budget in budgets(document)
        for what, make in (
            ("accuracy by family", tables.families),
            ("what is kept", tables.structure),
            ("cost", tables.cost),
        )
    )


def _origin(document: Document) -> str:
    known = {
        "positions of kept tokens": str(document.get("positions", "unknown")),
        "fingerprint of code and weights": str(document.get("made_by", "unknown")),
        **{str(name): str(value) for name, value in document.get("versions", {}).items()},
    }
    command = document.get("command")
    shown = code(str(command)) if command else ""
    return shown + facts(known) + folded("settings of every method", tables.settings(document))
