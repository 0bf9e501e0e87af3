"""The paired test of STS with every other method, drawn."""

from __future__ import annotations

from typing import Any

from ..marks import Theme
from ..rows import LEVEL, Document, ablations, baselines, budgets, row_of


def baselines_plot(document: Document, theme: Theme) -> Any:
    """STS with the baselines."""
    return _paired(document, baselines(document), theme)


def ablations_plot(document: Document, theme: Theme) -> Any:
    """STS with its parts and variants."""
    return _paired(document, ablations(document), theme)


def _paired(document: Document, names: list[str], theme: Theme) -> Any:
    """Right answers of a method less those of STS, a panel per budget; filled = significant."""
    from matplotlib.figure import Figure

    tests = {
        (name, budget): row["against"]
        for name in names
        for budget in budgets(document)
        if "against" in (row := row_of(document, name, budget) or {})
    }
    shown = [budget for budget in budgets(document) if any((n, budget) in tests for n in names)]
    names = [name for name in names if any((name, budget) in tests for budget in shown)]
    if not tests:
        return None

    def points(name: str, budget: int) -> float:
        test = tests[name, budget]
        return 100 * (test["losses"] - test["wins"]) / document["questions"]

    def order(name: str) -> tuple[float, ...]:
        """By the difference at the smallest budget that both reach, the missing ones last."""
        return tuple(
            -points(name, budget) if (name, budget) in tests else float("inf")
            for budget in reversed(shown)
        )

    names = sorted(names, key=order)
    figure = Figure(figsize=(10, 1.1 + 0.3 * len(names)), layout="constrained")
    grid = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
    for axes, budget in zip(grid, shown, strict=True):
        axes.axvline(0, color=theme.hues[0], linewidth=1.6, zorder=1)
        for place, name in enumerate(names):
            if (name, budget) not in tests:
                axes.annotate(
                    "out of reach",
                    (0.5, place),
                    ha="center",
                    va="center",
                    fontsize=7.5,
                    xycoords=("axes fraction", "data"),
                    color=theme.soft,
                )
                continue
            test, value = tests[name, budget], points(name, budget)
            sure = test["p_holm"] < LEVEL
            axes.plot([0, value], [place, place], color=theme.faint, linewidth=1.4, zorder=1)
            axes.plot(
                [value],
                [place],
                "o",
                markersize=6.5,
                color=theme.ink,
                zorder=3,
                markerfacecolor=theme.ink if sure else theme.paper,
            )
            axes.annotate(
                f"{test['wins']}:{test['losses']}",
                (1.02, place),
                va="center",
                xycoords=("axes fraction", "data"),
                fontsize=7.5,
                color=theme.soft,
            )
        axes.set_title(f"{budget} tokens")
        axes.margins(x=0.12)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
    grid[0].set_yticks(range(len(names)), names)
    grid[0].set_ylim(len(names) - 0.4, -0.6)
    figure.supxlabel(
        "points of accuracy from STS (line at 0: STS); filled: p < 0.05 after Holm; "
        "right of each panel: questions only STS : only the other answers",
        color=theme.soft,
        fontsize=8.5,
    )
    return figure
