"""`stsprune eval` and `tune` from end to end, on a few pictures."""

from __future__ import annotations

import csv
import json

import pytest
from typer.testing import CliRunner

from stsprune.cli.app import app

SMALL = ["eval", "--split", "validation", "--scenes", "3", "--processes", "1"]
SMALL += ["--method", "sts,random,fastv", "--budget", "0.25,8", "--seeds", "2"]


def call(*arguments):
    return CliRunner().invoke(app, [str(one) for one in arguments])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """(folder, what was printed) of one small evaluation."""
    out = tmp_path_factory.mktemp("eval") / "out"
    result = call(*SMALL, "--json", "--out", out)
    assert result.exit_code == 0, result.stderr
    return out, json.loads(result.stdout)


def test_eval_writes_what_it_prints(written):
    out, document = written
    assert document == json.loads((out / "summary.json").read_text())
    rows = [(row["name"], row["budget"], row["runs"]) for row in document["rows"]]
    assert rows == [
        ("unpruned", None, 1),
        ("sts", 36, 1),
        ("sts", 8, 1),
        ("random", 36, 2),
        ("random", 8, 2),
        ("fastv", 36, 1),
    ]
    assert [(one["name"], one["budget"]) for one in document["refused"]] == [("fastv", 8)]
    with (out / "summary.csv").open(newline="") as sheet:
        table = list(csv.DictReader(sheet))
    assert [(row["method"], row["budget"]) for row in table] == [
        (name, "" if budget is None else str(budget)) for name, budget, _ in rows
    ]
    for row, line in zip(document["rows"], table, strict=True):
        assert float(line["mean accuracy"]) == pytest.approx(row["accuracy"]["mean"][0], rel=1e-4)
    assert "--scenes 3 --method sts,random,fastv --budget 0.25,8 --seeds 2" in document["command"]
    assert str(out) not in json.dumps(document)
    report = (out / "report.html").read_text()
    assert "sts" in report
    assert "fastv" in report


def test_eval_again_answers_nothing_twice(written, monkeypatch):
    out, document = written
    monkeypatch.setattr("stsprune.evaluation.runner._Worker.answer", None)
    result = call(*SMALL, "--out", out)
    assert result.exit_code == 0, result.stderr
    assert json.loads((out / "summary.json").read_text()) == document
    for word in (
        "unpruned",
        "blind",
        "STS wins",
        "random",
        "McNemar",
        "fastv at 8: budget must be at least",
    ):
        assert word in result.stdout
    assert f"report: {out / 'report.html'}" in result.stderr


@pytest.mark.parametrize(
    ("option", "value", "match"),
    [
        ("--split", "train", "split must be validation or test"),
        ("--method", "none such", "method must be one of"),
        ("--budget", "0", "budget must be"),
        ("--budget", "145", "budget must be at most 144"),
        ("--positions", "new", "positions must be original or compact"),
        ("--settings", "best", "settings must be tuned or default"),
    ],
)
def test_bad_input_is_one_line(tmp_path, option, value, match):
    result = call("eval", "--scenes", "1", "--out", tmp_path / "out", option, value)
    assert result.exit_code == 2
    assert match in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_eval_refuses_another_runs_folder(written):
    out, _ = written
    before = sorted(path.stat().st_mtime_ns for path in out.rglob("*"))
    result = call(*SMALL, "--positions", "compact", "--out", out)
    assert result.exit_code == 2
    assert "holds results of positions='original'" in result.stderr
    assert sorted(path.stat().st_mtime_ns for path in out.rglob("*")) == before


def test_tune_writes_its_choice_and_goes_on(tmp_path, monkeypatch):
    from stsprune.method import methods

    monkeypatch.setattr(methods()["vispruner"], "search", ({"important": (0.25,)},))
    arguments = ["tune", "--out", tmp_path / "out", "--method", "vispruner", "--budget", "16"]
    arguments += ["--scenes", "2", "--processes", "1"]
    result = call(*arguments)
    assert result.exit_code == 0, result.stderr
    document = json.loads((tmp_path / "out" / "tuned.json").read_text())
    assert [t.get("important") for t in document["trials"]] == [None, 0.25]
    best = max(document["trials"], key=lambda trial: trial["accuracy"]["16"])
    settings = {name: value for name, value in best.items() if name not in ("method", "accuracy")}
    assert document["chosen"] == {"vispruner": settings}
    assert "vispruner" in result.stdout
    monkeypatch.setattr("stsprune.evaluation.runner._Worker.answer", None)
    again = call(*arguments)
    assert again.exit_code == 0, again.stderr
    assert json.loads((tmp_path / "out" / "tuned.json").read_text()) == document


def test_tune_names_an_unknown_method(tmp_path):
    result = call("tune", "--out", tmp_path / "out", "--method", "nonsense")
    assert result.exit_code == 2
    assert "method must be one of" in result.stderr
    assert not (tmp_path / "out").exists()
