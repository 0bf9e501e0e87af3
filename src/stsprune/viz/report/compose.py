"""The report of an evaluation: pictures beside one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ...atomic import write_bytes, write_text
from ..marks import DARK, LIGHT, Theme, png, style
from ..page import code, facts, folded, page, paragraph, picture, sentences
from ..rows import Document, budgets
from . import tables
from .accuracy import accuracy_plot, family_plot
from .cost import cost_plot
from .findings import findings
from .kept_set import collapse_plot, relevance_plot
from .paired import ablations_plot, baselines_plot
from .wall import wall_plot

WIDE = 1600  # pixels: sharp at 800 on a dense screen


@dataclass(frozen=True)
class Plot:
    """A drawing, its file's name, what it shows, and how to read it."""

    file: str
    draw: Callable[[Document, Theme], Any]
    name: str
    note: str


ACCURACY = Plot(
    "accuracy",
    accuracy_plot,
    "Accuracy against budget",
    "Every method answers the same questions with the same number of visual tokens per decoder "
    "layer, averaged over the layers. Bands: 95 % bootstrap intervals over pictures. Methods that "
    "prune inside the decoder alone cannot reach the smallest budgets.",
)
FAMILIES = Plot(
    "families",
    family_plot,
    "Accuracy against budget, per question family",
    "The interval is drawn for STS alone, the table below has every number.",
)
BASELINES = Plot(
    "baselines",
    baselines_plot,
    "STS tested against every baseline",
    "Exact McNemar test on the same questions, corrected by Holm over the methods.",
)
ABLATIONS = Plot(
    "ablations",
    ablations_plot,
    "STS tested against its parts and variants",
    "The same test for STS with a stage or a setting taken away or changed.",
)
COLLAPSE = Plot(
    "collapse",
    collapse_plot,
    "Diversity and coverage of what the first stage keeps",
    "At equal numbers of kept tokens. Each point is a budget; a method whose first stage keeps "
    "more than its budget, because a later one removes the rest, stands farther to the right.",
)
RELEVANCE = Plot(
    "relevance",
    relevance_plot,
    "Diversity against relevance",
    "Of the tokens that the decoder still sees half-way: their effective rank, and the share of "
    "the asked objects' tokens among them. At equal average budget, not at equal numbers there.",
)
COST = Plot(
    "cost",
    cost_plot,
    "Cost",
    "FLOPs are computed from the shapes. Time is measured in this run, in batches, without the "
    "image encoder; choices that do not depend on the question are made once per picture.",
)


def save_report(out: Path, document: Document, walls: Sequence[Any]) -> None:
    """Write `out`/report.html and the plots it holds as `out`/*.png.

    document: what `stsprune.evaluation.summary.summarise` returns; walls: `Wall`s, see
    `stsprune.evaluation.gallery`. A plot whose figures are missing is left out.
    """
    parts = [
        ("Findings", sentences(findings(document))),
        (
            "Accuracy",
            _plots(out, document, ACCURACY)
            + tables.overview(document)
            + _legend()
            + _plots(out, document, FAMILIES, BASELINES)
            + _left_out(document),
        ),
        ("Ablations", _plots(out, document, ABLATIONS)),
        ("What is kept", _plots(out, document, COLLAPSE, RELEVANCE)),
        ("The same picture and question", _walls(out, walls)),
        ("Cost", _plots(out, document, COST)),
        ("Figures at each budget", _details(document)),
        ("How it was made", _origin(document)),
    ]
    name = {"sceneqa2": "SceneQA 2"}.get(document.get("benchmark", ""), "SceneQA")
    title = f"stsprune eval: {name}, {document['split']} split"
    lead = (
        f"{document['questions']:,} questions, {document['visual_tokens']} visual tokens and "
        f"{document['layers']} decoder layers unpruned."
    )
    write_text(out / "report.html", page(title, lead, parts))


def _plots(out: Path, document: Document, *plots: Plot) -> str:
    return "\n".join(
        _picture(out, plot.file, partial(plot.draw, document), plot.name, plot.note)
        for plot in plots
    )


def _walls(out: Path, walls: Sequence[Any]) -> str:
    return "\n".join(
        _picture(
            out,
            f"kept-{number}",
            partial(wall_plot, wall),
            f"What each method keeps, question {number}",
            f"“{wall.question}” Right answer: {wall.wanted}. At {wall.budget} tokens per "
            "layer. Bright: kept by the first stage; framed: still there after the second. Above "
            "each picture: tokens after each stage, and the method's answer.",
            wide=1000,
        )
        for number, wall in enumerate(walls, 1)
    )


def _picture(
    out: Path, file: str, draw: Callable[[Theme], Any], name: str, note: str, wide: int = 0
) -> str:
    """Save a plot and return it for the page; nothing where there is nothing to draw."""
    from matplotlib import rc_context

    versions = []
    for theme in (LIGHT, DARK):
        with rc_context(style(theme)):
            figure = draw(theme)
            if figure is None:
                return ""
            versions.append(png(figure, wide or WIDE))
    write_bytes(out / f"{file}.png", versions[0])
    return picture(versions[0], versions[1], name, note)


def _legend() -> str:
    return paragraph(
        "Accuracy in %, with its 95 % interval. * p < 0.05, ** p < 0.01, *** p < 0.001: the exact "
        "McNemar test of STS with this method at this budget, corrected by Holm over the methods; "
        "it says that they differ, in either direction. The test counts all questions alike, the "
        "accuracy all families. -: the method cannot reach the budget."
    )


def _details(document: Document) -> str:
    return "\n".join(
        folded(f"{budget} tokens: {what}", made)
        for budget in budgets(document)
        for what, make in (
            ("accuracy by family", tables.families),
            ("answers of several tokens", tables.several),
            ("what is kept", tables.structure),
            ("cost", tables.cost),
        )
        if (made := make(document, budget))
    )


def _left_out(document: Document) -> str:
    leads = tables.without(document)
    said = "Points by which STS leads the best other method, ablations included, and its name."
    return folded("with one family left out", paragraph(said) + leads) if leads else ""


def _origin(document: Document) -> str:
    known = {
        "positions of kept tokens": str(document.get("positions", "unknown")),
        "fingerprint of code and weights": str(document.get("made_by", "unknown")),
        **{str(name): str(value) for name, value in document.get("versions", {}).items()},
    }
    command = document.get("command")
    shown = code(str(command)) if command else ""
    return shown + facts(known) + folded("settings of every method", tables.settings(document))
