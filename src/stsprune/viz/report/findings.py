"""What an evaluation found, in sentences; each one is computed from the document."""

from __future__ import annotations

from collections.abc import Sequence

from ..rows import (
    ATTENTION,
    LEVEL,
    MAIN,
    OVERALL,
    STRUCTURE,
    Document,
    Row,
    ablations,
    accuracy,
    baselines,
    budgets,
    number,
    row_of,
    unpruned,
)


def findings(document: Document) -> list[tuple[str, list[str]]]:
    """(heading, sentences) in the order of reading; headings without a sentence are left out."""
    at = budgets(document)
    parts = [
        ("Overall", [_setting(document), *(_overall(document, b) for b in at)]),
        ("Paired tests", [_tests(document, b, baselines(document)) for b in at]),
        ("Where STS is behind, by question family", _behind(document)),
        ("Ablations", [_tests(document, b, ablations(document)) for b in at]),
        ("Attention alone against repulsion alone", [_structure(document, b) for b in at]),
        ("Relevance: tokens of what is asked", [_relevance(document, b) for b in at]),
        ("Cost", [_cost(document, b) for b in at]),
        ("Budgets out of reach", _refused(document)),
    ]
    return [
        (name, kept)
        for name, said in parts
        if (kept := [sentence for sentence in said if sentence])
    ]


def _setting(document: Document) -> str:
    text = f"{document['questions']:,} questions about {document['scenes']:,} pictures "
    text += f"({document['split']} split); "
    text += "accuracy is the mean over the question families."
    whole = unpruned(document)
    if whole is not None:
        low, high = (100 * value for value in whole["accuracy"][OVERALL][1:])
        text += f" Unpruned, the model answers {_percent(accuracy(whole))} right"
        text += f" (95 % interval {low:.1f} to {high:.1f})."
    if OVERALL in document.get("blind", {}):
        text += f" Guessing from the question alone gives {_percent(document['blind'][OVERALL][0])}"
    return text.rstrip(".") + "."


def _overall(document: Document, budget: int) -> str:
    rows = _rows(document, baselines(document), budget)
    best = max(rows, key=accuracy, default=None)
    main = row_of(document, MAIN, budget)
    if main is None:
        if best is None:
            return ""
        return f"{budget} tokens: no result of STS; {best['name']} is first with {_score(best)}."
    text = f"{budget} tokens: STS {_score(main)}"
    if best is None:
        return text + "; no baseline to compare with."
    gap = 100 * (accuracy(main) - accuracy(best))
    place = 1 + sum(accuracy(row) > accuracy(main) for row in rows)
    text += f", place {place} of {len(rows) + 1} among STS and the baselines; "
    text += f"{'the best baseline' if place > 1 else 'next'} is {best['name']} "
    text += f"with {_percent(accuracy(best))} (difference {gap:+.1f} points{_verdict(best)})."
    return text


def _tests(document: Document, budget: int, names: Sequence[str]) -> str:
    rows = [row for row in _rows(document, names, budget) if "against" in row]
    if not rows:
        return ""
    groups: dict[str, list[str]] = {"behind": [], "even": [], "ahead": []}
    for row in rows:
        test = row["against"]
        sure = test["p_holm"] < LEVEL and test["wins"] != test["losses"]
        side = ("behind" if test["wins"] > test["losses"] else "ahead") if sure else "even"
        groups[side].append(row["name"])
    said = {
        "behind": "significantly worse than STS",
        "even": "not distinguishable from STS",
        "ahead": "significantly better than STS",
    }
    parts = [f"{said[side]}: {_list(group)}" for side, group in groups.items() if group]
    return f"{budget} tokens: {'; '.join(parts)}."


def _behind(document: Document) -> list[str]:
    """Families in which a baseline answers more questions right than STS does."""
    out, compared = [], False
    for budget in budgets(document):
        main = row_of(document, MAIN, budget)
        rows = _rows(document, baselines(document), budget)
        if main is None or not rows:
            continue
        compared = True
        for family in document.get("families", []):
            ahead = [row for row in rows if accuracy(row, family) > accuracy(main, family)]
            if not ahead:
                continue
            ahead.sort(key=lambda row: -accuracy(row, family))
            named = [
                f"{row['name']} {100 * (accuracy(row, family) - accuracy(main, family)):+.1f}"
                f"{' (significant)' if _sure(row, family) else ''}"
                for row in ahead
            ]
            out.append(
                f"{budget} tokens, {family}: STS {_percent(accuracy(main, family))}; "
                f"ahead by points: {_list(named)}."
            )
    if compared and not out:
        out.append("In no family and at no budget does a baseline score above STS.")
    return out


def _structure(document: Document, budget: int) -> str:
    one, two = (row_of(document, name, budget) for name in (ATTENTION, STRUCTURE))
    ranks = number(one, "first", "rank"), number(two, "first", "rank")
    if ranks[0] is None or not ranks[1]:
        return ""
    change = ranks[0] / ranks[1] - 1
    text = f"{budget} tokens: what attention alone keeps has an effective rank of {ranks[0]:.1f}, "
    text += f"repulsion alone {ranks[1]:.1f} ({change:+.0%})"
    for figure, said, form in (
        ("covered", "share of objects covered", "{:.0%}"),
        ("redundancy", "cosine to the nearest kept neighbour", "{:.2f}"),
    ):
        pair = number(one, "first", figure), number(two, "first", figure)
        if None not in pair:
            text += f"; {said} {form.format(pair[0])} against {form.format(pair[1])}"
    return text + "."


def _relevance(document: Document, budget: int) -> str:
    said = []
    for name in (MAIN, "semantics-only", ATTENTION, STRUCTURE):
        recall = number(row_of(document, name, budget), "middle", "recall")
        if recall is not None:
            said.append(f"{name} {recall:.0%}")
    if not said:
        return ""
    text = f"{budget} tokens: of the asked objects' tokens the decoder still sees half-way: "
    return f"{text}{_list(said)}."


def _cost(document: Document, budget: int) -> str:
    main, whole = row_of(document, MAIN, budget), unpruned(document)
    flops, all_flops = number(main, "flops"), number(whole, "flops")
    if main is None or flops is None or not all_flops:
        return ""
    text = f"{budget} tokens: STS needs {flops / all_flops:.0%} of the decoder's prefill FLOPs"
    spent, took, speed = (number(main, key) for key in ("seconds", "selection", "speed"))
    if spent and took is not None and speed is not None:
        text += f"; measured, {1000 * spent:.1f} ms a question in batches"
        text += f", {1000 * took:.1f} ms of it choosing tokens ({speed:.2f}x as fast as unpruned)"
    return text + "."


def _refused(document: Document) -> list[str]:
    """One sentence for all methods that cannot reach the same budgets for the same reason."""
    budgets: dict[tuple[str, str], list[str]] = {}
    for cell in document.get("refused", []):
        reason = cell["reason"].removesuffix(f", got {cell['budget']}")
        budgets.setdefault((cell["name"], reason), []).append(str(cell["budget"]))
    names: dict[tuple[str, str], list[str]] = {}
    for (name, reason), at in budgets.items():
        names.setdefault((_list(at), reason), []).append(name)
    return [f"{at} tokens: {_list(named)}: {reason}." for (at, reason), named in names.items()]


def _rows(document: Document, names: Sequence[str], budget: int) -> list[Row]:
    return [row for name in names if (row := row_of(document, name, budget)) is not None]


def _sure(row: Row, family: str) -> bool:
    p = number(row, "against", "families", family, "p_holm")
    return p is not None and p < LEVEL


def _verdict(row: Row) -> str:
    p = number(row, "against", "p_holm")
    if p is None:
        return ""
    return f", {'significant' if p < LEVEL else 'not significant'}, p {_p(p)}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _score(row: Row) -> str:
    relative = number(row, "relative")
    text = _percent(accuracy(row))
    return text if relative is None else f"{text} ({100 * relative:.1f} % of unpruned)"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)
