"""The report's tables as HTML."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape

from ..rows import OVERALL, Document, Row, budgets, methods, number, row_of, unpruned

Head = Sequence[str]
_SEVERAL = {
    "tokens": "right tokens at their place",
    "whole": "whole answers right",
    "same": "whole answers as unpruned",
}


def table(head: Head, rows: Sequence[Sequence[str]], names: int = 1) -> str:
    """An HTML table of plain texts; its first `names` columns are left-aligned."""

    def line(cells: Sequence[str], kind: str) -> str:
        tagged = (
            f"<{kind}{' class=name' if i < names else ''}>{escape(cell)}</{kind}>"
            for i, cell in enumerate(cells)
        )
        return f"<tr>{''.join(tagged)}</tr>"

    body = "\n".join(line(row, "td") for row in rows)
    top = f"<thead>{line(head, 'th')}</thead>"
    return f'<div class="wide"><table>{top}<tbody>\n{body}\n</tbody></table></div>'


def overview(document: Document) -> str:
    """Methods by budgets: accuracy with its interval, stars where STS's test is significant."""
    rows = []
    for name in methods(document):
        cells = [row_of(document, name, budget) for budget in budgets(document)]
        rows.append(
            [name, *("-" if row is None else _interval(row) + _stars(row) for row in cells)]
        )
    whole = unpruned(document)
    if whole is not None:
        rows.insert(0, ["unpruned", *(_interval(whole) for _ in budgets(document))])
    return table(["method", *(f"{budget} tokens" for budget in budgets(document))], rows)


def families(document: Document, budget: int) -> str:
    """Accuracy per family and closeness to the unpruned model, at one budget."""
    names = [OVERALL, *document.get("families", [])]
    rows = []
    for row in _at(document, budget):
        test = row.get("against")
        rows.append(
            [
                row["name"],
                *(f"{100 * row['accuracy'][name][0]:.1f}" for name in names),
                _show(number(row, "relative"), 100, ".1f"),
                _show(number(row, "agreement"), 100, ".1f"),
                _show(number(row, "kl"), 1, ".3f"),
                f"{test['wins']} : {test['losses']}" if test else "",
                f"{test['p_holm']:.2g}" if test else "",
            ]
        )
    head = ["accuracy, %", *names, "% of unpruned", "same answer, %", "KL, nats"]
    return table([*head, "STS wins : loses", "p (Holm)"], rows)


def several(document: Document, budget: int) -> str:
    """Answers of several tokens at one budget; nothing where no question asks for one."""
    rows = [
        [row["name"], *(_show(number(row, "long", key), 100, ".1f") for key in _SEVERAL)]
        for row in _at(document, budget)
        if "long" in row
    ]
    return table(["%, mean of their families", *_SEVERAL.values()], rows) if rows else ""


def without(document: Document) -> str:
    """How far STS leads the best other with one family left out, in points."""
    leads = document.get("without", [])
    if not leads:
        return ""
    shown = sorted({lead["budget"] for lead in leads}, reverse=True)
    cells = {
        (lead["without"], lead["budget"]): f"{100 * lead['lead']:+.1f} {lead['best']}"
        for lead in leads
    }
    rows = [
        [family or "none", *(cells.get((family, budget), "-") for budget in shown)]
        for family in dict.fromkeys(lead["without"] for lead in leads)
    ]
    return table(["family left out", *(f"{budget} tokens" for budget in shown)], rows)


def structure(document: Document, budget: int) -> str:
    """Figures of what is kept, at one budget: after the first stage and half-way."""
    columns = (
        ("kept", ".0f"),
        ("rank", ".2f"),
        ("redundancy", ".3f"),
        ("energy", ".2f"),
        ("hole", ".2f"),
        ("covered", ".3f"),
        ("recall", ".3f"),
        ("found", ".3f"),
    )
    rows = [
        [
            row["name"],
            said,
            *(_show(number(row, stage, key), 1, form) for key, form in columns),
            _show(number(row, "entropy"), 1, ".3f") if stage == "first" else "",
        ]
        for row in _at(document, budget)
        for stage, said in (("first", "first stage"), ("middle", "half-way"))
        if stage in row
    ]
    head = ["method", "where", "kept", "effective rank", "redundancy", "energy", "largest hole"]
    head += ["objects covered", "recall of asked", "all asked found", "entropy of scores"]
    return table(head, rows, names=2) if rows else ""


def cost(document: Document, budget: int) -> str:
    """Tokens, arithmetic, memory and measured time, at one budget."""
    rows = [
        [
            row["name"],
            ", ".join(map(str, row.get("tokens_per_layer", []))),
            _show(number(row, "flops"), 1e-6, ".1f"),
            _show(number(row, "kv_bytes"), 1e-3, ".0f"),
            _show(number(row, "seconds"), 1000, ".2f"),
            _show(number(row, "selection"), 1000, ".2f"),
            _show(number(row, "speed"), 1, ".2f"),
        ]
        for row in _at(document, budget)
    ]
    head = ["method", "visual tokens per layer", "MFLOPs", "KV cache, kB", "ms a question"]
    return table([*head, "of it selection, ms", "speed, unpruned = 1"], rows)


def settings(document: Document) -> str:
    """What every method ran with."""
    rows = []
    for name in methods(document):
        row = next(row for row in document["rows"] if row["name"] == name)
        said = ", ".join(f"{key}={json.dumps(v)}" for key, v in row.get("settings", {}).items())
        rows.append([name, str(row.get("runs", 1)), said or "none"])
    return table(["method", "seeds", "settings"], rows)


def _at(document: Document, budget: int) -> list[Row]:
    """The unpruned row, then those of a budget."""
    whole = unpruned(document)
    rows = [row_of(document, name, budget) for name in methods(document)]
    return [row for row in [whole, *rows] if row is not None]


def _interval(row: Row) -> str:
    mean, low, high = (100 * value for value in row["accuracy"][OVERALL])
    return f"{mean:.1f} ({low:.1f} to {high:.1f})"


def _stars(row: Row) -> str:
    p = number(row, "against", "p_holm")
    count = 0 if p is None else sum(p < level for level in (0.05, 0.01, 0.001))
    return " " + "*" * count if count else ""


def _show(value: float | None, factor: float, form: str) -> str:
    return "-" if value is None else f"{value * factor:{form}}"
