"""`stsprune eval` from end to end, on a few pictures."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from stsprune.cli.app import app

SMALL = ["eval", "--split", "validation", "--scenes", "3", "--method", "sts,random"]


def test_eval_writes_what_it_prints(tmp_path):
    arguments = [*SMALL, "--budget", "0.25,16", "--seeds", "2", "--processes", "1"]
    result = CliRunner().invoke(app, [*arguments, "--json", "--out", str(tmp_path / "run")])
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document == json.loads((tmp_path / "run" / "summary.json").read_text())
    names = [(row["name"], row["budget"], row["runs"]) for row in document["rows"]]
    assert names == [
        ("unpruned", None, 1),
        ("sts", 36, 1),
        ("sts", 16, 1),
        ("random", 36, 2),
        ("random", 16, 2),
    ]
    assert "--scenes 3 --method sts,random --budget 0.25,16 --seeds 2" in document["command"]
    assert str(tmp_path) not in json.dumps(document)
    assert (tmp_path / "run" / "report.html").exists()
    assert len((tmp_path / "run" / "summary.csv").read_text().splitlines()) == 1 + len(names)


@pytest.mark.parametrize(
    ("option", "value", "match"),
    [
        ("--split", "train", "split must be validation or test"),
        ("--settings", "best", "settings must be tuned or default"),
        ("--method", "none such", "method must be one of"),
        ("--budget", "0", "budget must be"),
        ("--budget", "145", "budget must be at most 144"),
        ("--positions", "new", "positions must be original or compact"),
    ],
)
def test_bad_input_is_one_line(option, value, match, tmp_path):
    out = ["--out", str(tmp_path / "run")]
    result = CliRunner().invoke(app, ["eval", "--scenes", "1", *out, option, value])
    assert result.exit_code == 2
    assert match in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()
