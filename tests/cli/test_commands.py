"""What the commands do when all is well."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from PIL import Image
from zoo import KITS

from stsprune.embedded.questions import FAMILIES

QUESTION = "what is the background?"


def test_ask_prints_the_answer_alone_on_stdout(call, picture, embedded_is_untrained):
    result = call("ask", picture, QUESTION, "--budget", "36")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1
    assert "of 144 visual tokens per layer" in result.stderr


@pytest.mark.parametrize("budget", ["36", "0.25"])
def test_ask_json(call, picture, embedded_is_untrained, budget):
    result = call("ask", picture, QUESTION, "--budget", budget, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["of"] == 144
    assert abs(document["visual_tokens"] - 36) <= 1
    assert document["kv_bytes"] > 0
    assert document["prefill_ms"] > 0
    structure, *inside = document["stages"]
    assert [stage["name"] for stage in inside] == ["semantics"] * 3
    seen = [set(stage["kept"]) for stage in (structure, *inside)]
    assert seen[2] < seen[1] < seen[0] < set(range(144))


def test_pruning_shrinks_the_cache(call, picture, embedded_is_untrained):
    def kv_bytes(*more) -> int:
        return json.loads(call("ask", picture, QUESTION, "--json", *more).stdout)["kv_bytes"]

    assert kv_bytes("--budget", "16") < 0.5 * kv_bytes("--method", "none")


def test_ask_keeps_all_at_the_full_budget(call, picture, embedded_is_untrained):
    def document(*more) -> dict:
        return json.loads(call("ask", picture, QUESTION, "--json", *more).stdout)

    full, unpruned = document("--budget", "1.0"), document("--method", "none")
    assert full["answer"] == unpruned["answer"]
    assert full["visual_tokens"] == unpruned["visual_tokens"] == 144
    assert unpruned["stages"] == []


def test_ask_shows_what_was_kept(call, picture, untrained, tmp_path):
    target = tmp_path / "new" / "kept.png"
    result = call("ask", picture, QUESTION, "--model", untrained, "--show", target)
    assert result.exit_code == 0, result.output
    with Image.open(target) as image:
        assert image.width > 2 * image.height


def test_methods(call):
    import stsprune

    result = call("methods")
    assert result.exit_code == 0
    listed = json.loads(call("methods", "--json").stdout)
    assert [row["name"] for row in listed] == sorted(stsprune.methods())
    assert all(row["about"] for row in listed)
    assert all(row["name"] in result.stdout for row in listed)


def test_models(call, embedded_is_untrained):
    embedded, *families = json.loads(call("models", "--json").stdout)
    assert embedded["visual_tokens"] == 144
    assert embedded["megabytes"] < 16
    assert "embedded" in call("models").stdout
    assert len({row["family"] for row in families}) >= 11
    assert {kit.model for kit in KITS.values()} <= {row["class"] for row in families}


def test_all_models(call):
    rows = json.loads(call("models", "--all", "--json").stdout)
    assert len(rows) > 80
    assert all(row["verdict"] for row in rows)
    assert sum(row["proven"] for row in rows) > 45
    shown = call("models", "--all").stdout
    assert "cross-attention" in shown


def test_demo(call, embedded_is_untrained, tmp_path):
    result = call("demo", "--out", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert [run["budget"] for run in document["runs"]] == [None, 48, 32, 16]
    for run in document["runs"]:
        assert abs(run["visual_tokens"] - (run["budget"] or 144)) <= 1
        assert {answer["family"] for answer in run["answers"]} <= set(FAMILIES)
    sizes = [run["kv_bytes"] for run in document["runs"]]
    assert sizes == sorted(sizes, reverse=True)
    with Image.open(document["picture"]) as image:
        assert image.width > 2 * image.height


def test_demo_table(call, embedded_is_untrained, tmp_path):
    result = call("demo", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    for word in ("unpruned", "budget 16", "visual tokens per layer", "prefill ms", "KV cache"):
        assert word in result.stdout


def test_demo_with_the_trained_model(call, tmp_path):
    unpruned, *pruned = json.loads(call("demo", "--out", tmp_path, "--json").stdout)["runs"]
    assert unpruned["right"] >= 0.6 * unpruned["asked"]
    assert pruned[0]["right"] >= unpruned["right"] - 2


def test_listing_does_not_wait_for_torch():
    code = (
        "import sys; from typer.testing import CliRunner; from stsprune.cli import app; "
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0; "
        "sys.exit(sum(name in sys.modules for name in ('torch', 'transformers', 'matplotlib')))"
    )
    paths = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    assert subprocess.run([sys.executable, "-c", code], check=False, env=paths).returncode == 0
