"""`stsprune eval` from end to end, on a few pictures."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from stsprune.cli.app import app


def test_eval_writes_what_it_prints(tmp_path):
    out = tmp_path / "eval.json"
    arguments = ["eval", "--split", "validation", "--scenes", "3", "--budget", "0.25,16"]
    result = CliRunner().invoke(app, [*arguments, "--seeds", "2", "--json", "--out", str(out)])
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document == json.loads(out.read_text())
    names = [(row["name"], row["budget"], row["runs"]) for row in document["rows"]]
    assert names == [
        ("blind", None, 1),
        ("unpruned", None, 1),
        ("sts", 36, 1),
        ("sts", 16, 1),
        ("random", 36, 2),
        ("random", 16, 2),
    ]


@pytest.mark.parametrize(
    ("option", "value", "match"),
    [
        ("--split", "train", "split must be validation or test"),
        ("--method", "none such", "method must be one of"),
        ("--budget", "0", "budget must be"),
        ("--budget", "145", "budget must be at most 144"),
        ("--positions", "new", "positions must be one of"),
    ],
)
def test_bad_input_is_one_line(option, value, match):
    result = CliRunner().invoke(app, ["eval", "--scenes", "1", option, value])
    assert result.exit_code == 2
    assert match in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
