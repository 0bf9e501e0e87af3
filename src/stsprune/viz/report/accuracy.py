"""Accuracy against the budget: over all families, and one panel for each."""

from __future__ import annotations

from typing import Any

from ..marks import Theme, legend, marks
from ..rows import (
    MAIN,
    OVERALL,
    Document,
    Row,
    accuracy,
    apart,
    baselines,
    budgets,
    curve,
    methods,
    unpruned,
)


def accuracy_plot(document: Document, theme: Theme) -> Any:
    """STS and every baseline with 95 % intervals, averaged over the families."""
    from matplotlib.figure import Figure

    if not budgets(document):
        return None
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    names = [name for name in methods(document) if name == MAIN or name in baselines(document)]
    _curves(axes, document, OVERALL, names or methods(document), theme)
    _guess(axes, document, OVERALL, theme)
    axes.set_title("Accuracy, mean over the question families (95 % intervals)", pad=10)
    axes.set_ylabel("accuracy, %")
    axes.set_xlabel("visual tokens per layer, on average")
    _names(axes, document, names or methods(document), theme)
    return figure


def family_plot(document: Document, theme: Theme) -> Any:
    """The same per question family; only STS and the best baselines are named."""
    from matplotlib.figure import Figure

    families = document.get("families", [])
    if not budgets(document) or not families:
        return None
    columns = min(4, len(families))
    lines = -(-len(families) // columns)
    figure = Figure(figsize=(10, 0.5 + 2.35 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    names = [name for name in methods(document) if name == MAIN or name in baselines(document)]
    for place, family in enumerate(families):
        axes = grid[place // columns][place % columns]
        _curves(axes, document, family, names or methods(document), theme, small=True)
        axes.set_title(family)
        axes.tick_params(labelbottom=place + columns >= len(families))
        if place % columns == 0:
            axes.set_ylabel("accuracy, %")
    for axes, family in zip(grid.ravel(), families, strict=False):
        _guess(axes, document, family, theme, small=True)
    for place in range(len(families), lines * columns):
        grid[place // columns][place % columns].set_axis_off()
    figure.supxlabel("visual tokens per layer, on average", color=theme.soft, fontsize=9.5)
    legend(figure, document, theme, names, lines=True)
    return figure


def _curves(
    axes: Any, document: Document, family: str, names: list[str], theme: Theme, small: bool = False
) -> None:
    looks = marks(document, theme)
    ticks = budgets(document)
    for name in sorted(names, key=lambda name: looks[name].front):
        rows, look = curve(document, name), looks[name]
        where = [row["budget"] for row in rows]
        values = [[100 * value for value in row["accuracy"][family]] for row in rows]
        mean = [value[0] for value in values]
        axes.plot(
            where,
            mean,
            color=look.colour,
            alpha=0.55 if look.plain else 1,
            linewidth=look.width * (0.7 if small else 1),
            marker=look.marker,
            markersize=(2.5 if small else 3.5) + look.width * 0.8,
            zorder=look.front,
        )
        if look.plain or (small and name != MAIN):
            continue
        low, high = ([value[side] for value in values] for side in (1, 2))
        if len(where) == 1:
            axes.vlines(where, low, high, color=look.colour, alpha=0.5, linewidth=1.2)
        axes.fill_between(where, low, high, color=look.colour, linewidth=0, alpha=0.12, zorder=1)
    _flat(axes, "unpruned", unpruned(document), family, theme, small)
    axes.set_xscale("log")
    axes.set_xlim(ticks[0] * 1.12, ticks[-1] / 1.12)  # more is pruned to the right
    axes.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
    axes.minorticks_off()


def _guess(axes: Any, document: Document, family: str, theme: Theme, small: bool = False) -> None:
    """What the question alone gives; it does not stretch the panel."""
    axes.set_ylim(*axes.get_ylim())
    _flat(axes, "question only", {"accuracy": document.get("blind", {})}, family, theme, small)


def _flat(axes: Any, label: str, row: Row | None, family: str, theme: Theme, small: bool) -> None:
    """A dashed line at an accuracy that no budget changes; below the panel, its value alone."""
    if row is None or family not in row["accuracy"]:
        return
    value = 100 * accuracy(row, family)
    axes.axhline(value, color=theme.soft, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    if small:
        return
    floor = axes.get_ylim()[0]
    axes.annotate(
        f"{label} {value:.1f}{'' if value > floor else ' (below)'}",
        (0, max(value, floor)),
        xycoords=("axes fraction", "data"),
        xytext=(4, 3),
        textcoords="offset points",
        fontsize=8.5,
        color=theme.soft,
    )


def _names(axes: Any, document: Document, names: list[str], theme: Theme) -> None:
    """Each method's name beside its last point, moved apart where they would overlap."""
    from matplotlib.patheffects import withStroke

    looks = marks(document, theme)
    last = {name: curve(document, name)[-1] for name in names}
    low, high = axes.get_ylim()
    for budget in sorted({row["budget"] for row in last.values()}, reverse=True):
        shown = [name for name in names if last[name]["budget"] == budget]
        values = [100 * accuracy(last[name]) for name in shown]
        places = apart(values, (high - low) * 0.042)
        for name, value, place in zip(shown, values, places, strict=True):
            look = looks[name]
            axes.annotate(
                name,
                (budget, value),
                xytext=(budget / 1.06, place),
                va="center",
                fontsize=10.5 if name == MAIN else 9,
                fontweight="bold" if name == MAIN else "normal",
                color=look.colour,
                annotation_clip=False,
                arrowprops={"arrowstyle": "-", "color": look.colour, "lw": 0.5, "alpha": 0.6},
                path_effects=[withStroke(linewidth=2.5, foreground=theme.paper)],
                zorder=look.front,
            )
