"""What is kept: how diverse it is, what it covers, and what it holds of the answer."""

from __future__ import annotations

from typing import Any

from ..marks import Theme, label_points, legend, marks
from ..rows import Document, budgets, curve, methods, middle, number, row_of

FIGURES = (
    ("rank", "effective rank of the features", "higher is more diverse"),
    ("redundancy", "cosine to the nearest kept token", "lower is more diverse"),
    ("covered", "objects with a kept token, %", "higher covers more"),
)


def collapse_plot(document: Document, theme: Theme) -> Any:
    """Figures of the first stage's choice against how many tokens it keeps, and score entropy."""
    from matplotlib.figure import Figure

    if not any("first" in row for row in document["rows"]):
        return None
    looks, most = marks(document, theme), max(budgets(document))
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    grid = figure.subplots(2, 2).ravel()
    for axes, (key, title, hint) in zip(grid, FIGURES, strict=False):
        factor = 100 if key == "covered" else 1
        for name, look in sorted(looks.items(), key=lambda item: item[1].front):
            points = [
                (kept, factor * value)
                for row in curve(document, name)
                if (kept := number(row, "first", "kept")) is not None
                and (value := number(row, "first", key)) is not None
                and kept <= 1.3 * most
            ]
            if not points:
                continue
            axes.plot(
                *zip(*points, strict=True),
                color=look.colour,
                alpha=0.5 if look.plain else 1,
                linewidth=look.width,
                marker=look.marker,
                markersize=3 + look.width,
                zorder=look.front,
            )
        axes.set_title(title)
        axes.set_xlabel("tokens kept by the first stage")
        axes.annotate(
            hint,
            (1, 1),
            (0, 5),
            "axes fraction",
            textcoords="offset points",
            ha="right",
            fontsize=8.5,
            color=theme.soft,
        )
        axes.set_xscale("log")
        axes.set_xticks(budgets(document), [str(budget) for budget in budgets(document)])
        axes.minorticks_off()
    _entropy(grid[3], document, theme)
    legend(figure, document, theme, methods(document))
    return figure


def _entropy(axes: Any, document: Document, theme: Theme) -> None:
    """Entropy of the scores that choose, at the middle budget."""
    looks = marks(document, theme)
    budget = middle(document)
    known = {name: number(row_of(document, name, budget), "entropy") for name in looks}
    values = sorted((value, name) for name, value in known.items() if value is not None)
    axes.set_title("entropy of the scores, % of its maximum")
    if not values:
        axes.set_axis_off()
        return
    for place, (value, name) in enumerate(values):
        look = looks[name]
        axes.plot([0, 100 * value], [place, place], color=theme.faint, linewidth=1, zorder=1)
        axes.plot([100 * value], [place], look.marker, color=look.colour, markersize=6)
    axes.set_yticks(range(len(values)), [name for _, name in values])
    axes.set_ylim(-0.6, len(values) - 0.4)
    axes.set_xlim(0, 100)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"at {budget} tokens; low: on few tokens, 100: on all alike")


def relevance_plot(document: Document, theme: Theme) -> Any:
    """Diversity against relevance of what the decoder sees half-way, a panel per budget."""
    from matplotlib.figure import Figure

    panels = []
    for budget in budgets(document):
        points = {
            name: (rank, 100 * recall)
            for name in methods(document)
            if (rank := number(row_of(document, name, budget), "middle", "rank")) is not None
            and (recall := number(row_of(document, name, budget), "middle", "recall")) is not None
        }
        if points:
            panels.append((budget, points))
    if not panels:
        return None
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(10, 4.1 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    looks = marks(document, theme)
    for axes, (budget, points) in zip(grid, panels, strict=False):
        for name, (rank, recall) in points.items():
            look = looks[name]
            axes.plot(
                [rank],
                [recall],
                look.marker,
                color=look.colour,
                markersize=4.5 + look.width,
                alpha=0.7 if look.plain else 1,
                zorder=look.front,
            )
        axes.margins(0.2, 0.1)
        axes.set_title(f"{budget} tokens")
        axes.set_xlabel("diversity: effective rank half-way")
        axes.set_ylabel("relevance: asked tokens kept, %")
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    figure.draw_without_rendering()  # lays the panels out
    for axes, (_, points) in zip(grid, panels, strict=False):
        label_points(axes, points, looks, theme)
    return figure
