"""`stsprune check`: what it prints, its exit codes, what it refuses."""

from __future__ import annotations

import json

import pytest
from processors import PROCESSORS
from zoo import DEPTH, shared

import stsprune
from stsprune import STS
from stsprune.checking import exactness
from stsprune.engine import prune
from stsprune.recipes import Recipe, weights_hash


def test_the_embedded_model(call):
    result = call("check")
    assert result.exit_code == 0, result.output
    *_, verdict = result.stdout.splitlines()
    assert verdict.startswith("exact: 3 prompts and 16 steps each in float32")
    assert "STS(budget=0.25" in result.stdout


def test_json_holds_what_a_report_needs(call, picture):
    result = call(
        *("check", "--image", picture, "--image", picture, "--budget", "36", "--json"),
        *("--dtype", "bfloat16", "--attention", "eager", "--layers", 4, "--device", "cpu"),
    )
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["checkpoint"] == "embedded"
    assert document["cut_to"] == document["setting"]["layers"] == 4
    assert document["setting"]["dtype"] == "bfloat16"
    assert document["setting"]["attention"] == "eager"
    assert document["pictures"][1]["name"] == str(picture)
    assert {"device", "torch", "transformers", "stsprune"} <= set(document["machine"])
    for prompt in document["prompts"]:
        assert prompt["findings"][0]["bar"] > 1e-3
        assert prompt["pruned_bytes"] == prompt["theory_bytes"]
        assert [finding["difference"] is not None for finding in prompt["findings"]] == [True] * 3


def test_broken_pruning_ends_in_1(call, picture, monkeypatch):
    monkeypatch.setattr(exactness, "prune", lambda *a, **_: prune(*a, positions="compact"))
    result = call("check", "--image", picture, "--question", "what is the background?")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1].startswith("not exact: prompt 1 differs by")
    assert "✗" in result.stdout


@pytest.mark.parametrize("family", ["LLaVA-NeXT", "Gemma 3"])
def test_another_family_by_its_folder(family, call, tmp_path):
    folder = tmp_path / "model"
    shared(family).save_pretrained(folder)
    PROCESSORS[family].build().save_pretrained(folder)
    words = ("check", "--model", folder, "--question", "w5 w6", "--budget", "0.4", "--json")
    document = json.loads(call(*words).stdout)
    assert document["ok"], document["verdict"]
    assert document["setting"]["layers"] == DEPTH
    cut = json.loads(call(*words, "--layers", 3).stdout)
    assert cut["ok"], cut["verdict"]
    assert cut["setting"]["layers"] == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--dtype", "int8"), "dtype must be one of float32, bfloat16, float16, got 'int8'"),
        (("--attention", "magic"), "attention must be one of sdpa, eager"),
        (("--device", "cuda:77"), "device must be one that this machine has (cpu"),
        (("--device", "toaster"), "got 'toaster'"),
        (("--layers", "1"), "layers must be in 2..8 for model 'embedded'"),
        (("--layers", "9"), "got 9"),
        (("--budget", "0"), "budget must be"),
        (("--budget", "144"), "budget must drop tokens for a check to mean anything, got 144"),
        (("--method", "none"), "method must be one of"),
        (("--question", " "), "question must not be empty"),
        (("--question", "what giraffe?"), "words that the model does not know: 'giraffe'"),
        (("--image", "missing.png"), "image file 'missing.png' does not exist"),
        (("--model", "./missing"), "model folder './missing' does not exist"),
    ],
)
def test_bad_input(refused_check, words, message):
    assert message in refused_check("check", *words)


@pytest.fixture
def refused_check(call):
    """As `refused`; the progress bar may have begun on stderr."""

    def run(*words) -> str:
        result = call(*words)
        assert result.exit_code == 2, result.output
        assert result.stdout == ""
        (line,) = [one for one in result.stderr.splitlines() if one.startswith("stsprune: ")]
        assert "Traceback" not in result.stderr
        return line

    return run


@pytest.fixture
def recipe(tmp_path):
    """A recipe of the embedded model, by a method."""
    model, _ = stsprune.load_embedded()

    def write(method, **more):
        path = tmp_path / "recipe.json"
        made = Recipe(method, type(model).__name__, weights_hash(model), **more)
        path.write_text(json.dumps(made.document()))
        return path

    return write


@pytest.mark.parametrize(
    "method", [STS(20, space=0.1), STS(0.5, potential=5.5)], ids=["fixed", "potential"]
)
def test_a_recipe(method, call, picture, recipe):
    result = call("check", "--recipe", recipe(method), "--image", picture, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["setting"]["method"] == repr(method)
    (prompt,) = document["prompts"]
    assert prompt["pruned_bytes"] == prompt["theory_bytes"] < prompt["unpruned_bytes"]
    assert document["ok"]
    assert [finding["difference"] is not None for finding in prompt["findings"]] == [True] * 3


def test_recipes_that_are_refused(refused, recipe, untrained):
    path = recipe(STS(20))
    assert "budget must be left out with --recipe" in refused(
        "check", "--recipe", path, "--budget", "9"
    )
    assert "layers must be left out with --recipe" in refused(
        "check", "--recipe", path, "--layers", "3"
    )
    assert "calibrate on these" in refused("check", "--recipe", path, "--model", untrained)
    compact = recipe(STS(20), positions="compact")
    assert "must be of original positions" in refused("check", "--recipe", compact)
    follows = recipe(STS(20, potential=6.0))
    assert "must be of a fixed budget: eval" in refused("eval", "--recipe", follows)
    assert "must be of a fixed budget: bench" in refused("bench", "--recipe", follows)
