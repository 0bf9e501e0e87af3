"""The report says what the document says, in one file that loads nothing."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from document import make_document, make_row

from stsprune.viz.report import compose, save_report
from stsprune.viz.report.findings import findings

VOID = {"meta", "img", "source", "br"}


class Checker(HTMLParser):
    """Fails on tags that are not closed in order; collects what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.loads += [value for name, value in attrs if name in ("src", "srcset", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(folder):
    checker = Checker()
    html = (folder / "report.html").read_text()
    checker.feed(html)
    checker.close()
    assert checker.open == []
    assert all(one.startswith("data:image/png;base64,") for one in checker.loads)
    assert "@import" not in html
    assert "url(" not in html
    return html, checker


def full():
    rows = [make_row("unpruned", None, 0.8)]
    for budget, drop in ((48, 0.0), (16, 0.1)):
        rows += [
            make_row("sts", budget, 0.75 - drop),
            make_row("attention-only", budget, 0.6 - drop),
            make_row("structure-only", budget, 0.7 - drop),
            make_row("divprune", budget, 0.72 - drop),
        ]
    rows.append(make_row("fastv", 48, 0.5))
    refused = [{"name": "fastv", "budget": 16, "reason": "too few"}]
    return make_document(rows, refused=refused)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Pictures of few pixels, to be quick."""
    monkeypatch.setattr(compose, "WIDE", 200)


def said(document):
    return "\n".join(one for _, sentences in findings(document) for one in sentences)


def test_page_is_whole_and_loads_nothing(tmp_path):
    save_report(tmp_path, full(), [])
    html, checker = read(tmp_path)
    assert len(checker.loads) == 2 * html.count("<img ")
    assert html.count("<img ") == len(list(tmp_path.glob("*.png"))) >= 2
    assert "75.0 (73.0 to 77.0)" in html


def test_several_tokens_and_a_family_left_out(tmp_path):
    save_report(tmp_path, full(), [])
    plain = read(tmp_path)[0]
    assert "several tokens" not in plain
    assert "left out" not in plain
    document = full()
    document["benchmark"] = "sceneqa2"
    for row in document["rows"]:
        row["long"] = {"tokens": 0.912, "whole": 0.834, "same": 0.756}
    document["without"] = [
        {"budget": 48, "without": None, "best": "divprune", "lead": 0.03},
        {"budget": 48, "without": "count", "best": "structure-only", "lead": -0.012},
    ]
    save_report(tmp_path, document, [])
    html, checker = read(tmp_path)
    assert "stsprune eval: SceneQA 2, " in html
    assert checker.text.count("48 tokens: answers of several tokens") == 1
    assert {"91.2", "83.4", "75.6", "+3.0 divprune", "-1.2 structure-only"} <= set(checker.text)


def test_texts_are_escaped(tmp_path, monkeypatch):
    monkeypatch.setattr(compose, "png", lambda figure, wide: b"not drawn here")
    bad = "<script>alert('x')</script>"
    rows = [make_row(bad, 16, 0.5), make_row("sts", 16, 0.6, settings={"a": bad})]
    refused = [{"name": bad, "budget": 8, "reason": bad}]
    document = make_document(rows, refused=refused, command=bad, versions={bad: bad}, split=bad)
    save_report(tmp_path, document, [])
    html, checker = read(tmp_path)
    assert "<script" not in html
    assert any(bad in text for text in checker.text)


@pytest.mark.parametrize(
    "rows",
    [
        [make_row("sts", 16, 0.6)],
        [make_row("random", 16, 0.6), make_row("random", 8, 0.5), make_row("fastv", 16, 0.5)],
        [make_row("unpruned", None, 0.8)],
    ],
    ids=["STS alone", "no STS and nothing unpruned", "nothing pruned"],
)
def test_little_is_enough(rows, tmp_path):
    save_report(tmp_path, make_document(rows), [])
    assert rows[-1]["name"] in read(tmp_path)[0]


def test_missing_figures_are_left_out(tmp_path):
    document = full()
    for row in document["rows"]:
        for name in ("first", "middle", "entropy", "against", "settings", "flops", "seconds"):
            row.pop(name, None)
        row["kl"] = float("nan")
    for name in ("blind", "command", "versions", "refused", "made_by", "ablations"):
        document.pop(name)
    save_report(tmp_path, document, [])
    _, checker = read(tmp_path)
    assert "nan" not in checker.text
    assert "-" in checker.text


def test_the_winner_is_the_one_with_the_figures():
    assert "STS 75.0 % (93.8 % of unpruned), place 1 of 4" in said(full())
    document = full()
    test = {"wins": 5, "losses": 40, "p": 1e-6, "p_holm": 4e-6}
    for row in document["rows"]:
        if row["name"] == "divprune":
            row["accuracy"] = {name: [0.78, 0.76, 0.8] for name in row["accuracy"]}
            row["against"] = {**test, "families": {"colour": test, "count": {**test, "p_holm": 1}}}
    text = said(document)
    assert "place 2 of 4" in text
    assert "the best baseline is divprune with 78.0 % (difference -3.0 points, significant" in text
    assert "significantly better than STS: divprune" in text
    assert "48 tokens, colour: STS 75.0 %; ahead by points: divprune +3.0 (significant)" in text
    assert "48 tokens, count: STS 75.0 %; ahead by points: divprune +3.0." in text


def test_no_family_behind_is_said_only_where_it_was_compared():
    line = "In no family and at no budget"
    assert line in said(full())
    assert line not in said(make_document([make_row("sts", 16, 0.6)]))


def test_budgets_out_of_reach_are_named_once():
    reason = "budget must be at least 19"
    refused = [
        {"name": name, "budget": budget, "reason": f"{reason}, got {budget}"}
        for name in ("fastv", "dart")
        for budget in (16, 8)
    ]
    text = said(make_document([make_row("sts", 16, 0.6)], refused=refused))
    assert text.splitlines()[-1] == f"16, 8 tokens: fastv, dart: {reason}."


def test_collapse_is_the_ratio_of_the_figures():
    document = full()
    for row in document["rows"]:
        if row["name"] == "attention-only":
            row["first"] |= {"rank": row["budget"] / 6, "covered": 0.4}
    text = said(document)
    assert "effective rank of 8.0, repulsion alone 16.0 (-50%)" in text
    assert "share of objects covered 40% against 80%" in text
