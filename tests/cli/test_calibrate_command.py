"""`stsprune calibrate`, and `--recipe` of the other commands."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from stsprune.embedded.questions import questions
from stsprune.embedded.scenes import scene


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prompts")
    lines = []
    for index in range(2):
        drawn = scene("validation", index)
        Image.fromarray(drawn.image).save(folder / f"{index}.png")
        asked = [one.text for one in questions(drawn, 3)]
        lines += [{"images": [f"{index}.png"], "question": one} for one in (asked * 3)[:20]]
    path = folder / "prompts.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_from_calibration_to_every_command(call, refused, data, tmp_path):
    out = tmp_path / "out"
    words = ("--data", data, "--out", out, "--target", "0.8", "--batch", 20)
    shown = call("calibrate", *words)
    assert shown.exit_code == 0, shown.output
    assert "of 20 held-out answers stay" in shown.stdout
    assert "less KV cache" in shown.stdout
    result = call("calibrate", *words, "--json")
    document, recipe = json.loads(result.stdout), out / "recipe.json"
    assert json.loads(recipe.read_text())["model"]["name"] == "embedded"
    assert document["chosen"]["held_out"]["same"] >= 0.8
    assert (out / "report.html").exists()
    assert "another max_new_tokens" in refused("calibrate", *words, "--max-new-tokens", "1")
    picture, question = data.parent / "0.png", "what is the background?"

    answered = call("ask", picture, question, "--recipe", recipe, "--json")
    assert answered.exit_code == 0, answered.output
    told = json.loads(answered.stdout)
    assert told["budget"] == document["chosen"]["budget"]
    assert told["visual_tokens"] <= 144

    line = refused("ask", picture, question, "--recipe", recipe, "--budget", "64")
    assert "budget must be left out with --recipe" in line

    run = ("eval", "--scenes", 1, "--method", "grid", "--processes", 1, "--out", tmp_path / "eval")
    evaluated = call(*run, "--recipe", recipe, "--json")
    assert evaluated.exit_code == 0, evaluated.output
    rows = json.loads(evaluated.stdout)["rows"]
    assert {row["name"] for row in rows} == {"unpruned", "grid", "sts"}

    few = ("--rounds", 1, "--answers", 1, "--tokens", 2, "--preset", "cpu")
    timed = call(
        *("bench", "--model", "embedded", "--recipe", recipe, *few, "--batch", 1),
        *("--out", tmp_path / "bench", "--json"),
    )
    assert timed.exit_code == 0, timed.output
    assert json.loads(timed.stdout)["setup"]["settings"]["sts"]["space"] == 0.3

    changed = json.loads(recipe.read_text())
    changed["model"]["weights"] = "0"
    other = tmp_path / "other.json"
    other.write_text(json.dumps(changed))
    for command in (("ask", picture, question), ("eval", "--out", tmp_path / "e")):
        assert "is for the weights of" in refused(*command, "--recipe", other)
    assert call("ask", picture, question, "--recipe", other, "--any-model").exit_code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--target", "0"), "target must be in (0, 1]"),
        (("--target", "1.2"), "target must be in (0, 1]"),
        (("--method", "magic"), "method must be one of"),
        (("--dtype", "int8"), "dtype must be auto, float32, bfloat16 or float16"),
        (("--questions", "q.txt"), "questions must be left out unless data is a folder"),
    ],
)
def test_bad_options(refused, data, tmp_path, words, message):
    assert message in refused("calibrate", "--data", data, "--out", tmp_path / "o", *words)
    assert not (tmp_path / "o").exists()


def test_bad_data(refused, data, tmp_path):
    broken = tmp_path / "broken.jsonl"
    out = ("--out", tmp_path / "o")
    lines = data.read_text().splitlines()
    broken.write_text("\n".join([lines[0], "{"]))
    assert "broken.jsonl', line 2 must be a JSON object" in refused(
        "calibrate", "--data", broken, *out
    )
    broken.write_text("\n".join(lines[:12]))
    line = refused("calibrate", "--data", broken, *out)
    assert "must hold at least 40 prompts, got 12" in line
    broken.write_text("\n".join(lines))
    assert "line 1: image file" in refused("calibrate", "--data", broken, *out)
    assert "does not exist" in refused("calibrate", "--data", tmp_path / "none.jsonl", *out)
    assert "questions must be given" in refused("calibrate", "--data", tmp_path, *out)
    assert not (tmp_path / "o").exists()
