"""What pruning costs and saves."""

from __future__ import annotations

from typing import Any

from ..marks import Mark, Theme, marks
from ..rows import MAIN, Document, Row, apart, budgets, methods, middle, number, row_of, unpruned


def cost_plot(document: Document, theme: Theme) -> Any:
    """Visual tokens per layer, FLOPs and measured time, at the middle budget."""
    from matplotlib.figure import Figure

    if not budgets(document):
        return None
    budget = middle(document)
    rows = {name: row_of(document, name, budget) for name in methods(document)}
    whole = unpruned(document)
    known = [("unpruned", whole), *rows.items()]
    timed = [(name, row) for name, row in known if row and number(row, "seconds") is not None]
    if not timed:
        return None
    looks = marks(document, theme)
    figure = Figure(figsize=(10, 1.4 + 0.23 * max(len(timed), 10)), layout="constrained")
    steps, flops, times = figure.subplots(1, 3, width_ratios=(1.15, 0.8, 1))

    _steps(steps, {name: row for name, row in rows.items() if row}, looks, theme)
    steps.set_title(f"Visual tokens per layer at {budget}")
    steps.set_xlabel("decoder layer")
    names = [name for name, _ in timed]
    colours = [looks[name].colour if name in looks else theme.ink for name in names]
    for place, (_, row) in enumerate(timed):
        value, base = number(row, "flops"), number(whole, "flops")
        if value is not None and base:
            flops.plot([100 * value / base], [place], "o", color=colours[place], markersize=5)
        took, spent = number(row, "selection") or 0.0, number(row, "seconds") or 0.0
        times.barh(place, 1000 * took, color=colours[place], height=0.62)
        times.barh(
            place,
            1000 * (spent - took),
            left=1000 * took,
            height=0.62,
            color=colours[place],
            alpha=0.3,
        )
        times.annotate(
            f"{1000 * spent:.1f}",
            (1000 * spent, place),
            (3, 0),
            va="center",
            textcoords="offset points",
            fontsize=7.5,
            color=theme.soft,
        )
    for axes in (flops, times):
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.set_xlim(left=0)
    flops.set_yticks(range(len(names)), names, fontsize=8)
    times.set_yticks([])
    times.margins(x=0.12)
    flops.set_title("Prefill FLOPs")
    flops.set_xlabel("% of unpruned")
    times.set_title("Time a question, ms")
    times.set_xlabel("solid: choosing tokens")
    return figure


def _steps(axes: Any, rows: dict[str, Row], looks: dict[str, Mark], theme: Theme) -> None:
    """Each way to spend the budget over the layers once, with its first method's name."""
    plans: dict[tuple[int, ...], list[str]] = {}
    for name, row in rows.items():
        if row.get("tokens_per_layer"):
            plans.setdefault(tuple(row["tokens_per_layer"]), []).append(name)
    if not plans:
        axes.set_axis_off()
        return
    depth = max(map(len, plans))
    gap = max(map(max, plans)) * 0.045
    ordered = sorted(plans.items(), key=lambda plan: plan[0][-1])
    ends = apart([max(plan[-1], n * gap) for n, (plan, _) in enumerate(ordered)], gap)
    for (layers, same), end in zip(ordered, ends, strict=True):
        look = looks[MAIN] if MAIN in same else Mark(theme.soft)
        axes.stairs(
            layers,
            range(len(layers) + 1),
            baseline=None,
            color=look.colour,
            linewidth=look.width,
            zorder=look.front,
        )
        axes.annotate(
            same[0] if len(same) == 1 else f"{same[0]} and {len(same) - 1} more",
            (depth, layers[-1]),
            (depth + 0.55, end),
            va="center",
            fontsize=8,
            color=look.colour,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": look.colour, "lw": 0.6, "relpos": (0, 0.5)},
        )
    axes.set_xlim(0, depth)
    axes.set_ylim(bottom=0)
    axes.set_xticks([n + 0.5 for n in range(depth)], [str(n + 1) for n in range(depth)])
    axes.grid(axis="x", visible=False)
