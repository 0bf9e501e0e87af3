"""`stsprune bench` from end to end on the tiny geometry, and what a user can get wrong."""

from __future__ import annotations

import json
import re

import pytest
import torch
from PIL import Image

from stsprune.bench.contest import Contestant

FAST = ["bench", "--model", "geometry:tiny", "--rounds", "2", "--answers", "1", "--tokens", "2"]
FAST += ["--preset", "cpu", "--methods", "sts,fastv"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The ceiling and selection alone are measured on small shapes."""
    from stsprune.bench import ceiling, selecting
    from stsprune.bench.ceiling import Ceiling

    monkeypatch.setattr(ceiling, "measure", lambda device, dtype: Ceiling(1e11, 1e10))
    whole = selecting.contest
    monkeypatch.setattr(selecting, "contest", lambda *shape: whole(64, 8, *shape[2:], repeats=2))


@pytest.fixture
def written(call, tmp_path):
    result = call(*FAST, "--out", tmp_path / "out", "--batch", "1,2", "--budgets", "0.5,8")
    assert result.exit_code == 0, result.stderr
    return tmp_path / "out", result


def test_from_end_to_end(written, call):
    out, result = written
    document = json.loads((out / "bench.json").read_text())
    assert next(iter(document)) == "summary"  # ratios first
    assert document["setup"]["budgets"] == [18, 8]
    assert document["machine"]["torch"] == torch.__version__
    assert {"device", "threads", "commit", "transformers"} <= document["machine"].keys()
    assert [group["batch"] for group in document["summary"]] == [1, 2]
    for group in document["summary"]:
        assert all(row["kv_exact"] for row in group["rows"])
        names = [(row["name"], row["budget"]) for row in group["rows"]]
        assert names[:3] == [("unpruned", None), ("floor", 18), ("sts", 18)]
    order = [result.stdout.index(word) for word in ("ceiling", "selection alone", ": ratios")]
    assert order == sorted(order)
    assert str(out) not in (out / "bench.json").read_text()
    page = (out / "report.md").read_text()
    assert page.startswith("geometry:tiny, float32")
    assert "batch 2, 36 visual tokens: sizes" in page
    with Image.open(out / "bench.png") as plot:
        assert plot.size[0] == 2000
    again = call(*FAST, "--out", out, "--batch", "1,2", "--budgets", "0.5,8", "--resume", "--json")
    assert again.exit_code == 0, again.stderr
    assert json.loads(again.stdout)["groups"] == document["groups"]


def test_no_gpu_and_no_triton_are_said(call, tmp_path, monkeypatch):
    from stsprune.selection import kernels

    monkeypatch.setattr(kernels, "has_triton", lambda: False)
    result = call(*FAST, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert "Triton is not installed: selection and scores run in plain torch" in result.stdout


def test_the_embedded_model(call, tmp_path, embedded_is_untrained):
    result = call(*FAST, "--model", "embedded", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    document = json.loads((tmp_path / "out" / "bench.json").read_text())
    assert document["setup"]["budgets"] == [48, 32, 16]


def test_interrupted_and_resumed(call, tmp_path, monkeypatch):
    original, calls = Contestant.run, []

    def interrupted(self, answer=True):
        calls.append(self.name)
        if len(calls) == 12:
            raise KeyboardInterrupt
        return original(self, answer)

    words = [*FAST, "--budgets", "8", "--methods", "sts", "--out", tmp_path / "out"]
    monkeypatch.setattr(Contestant, "run", interrupted)
    stopped = call(*words)
    assert stopped.exit_code == 130
    assert "keeps what was measured, --resume goes on with it" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert (tmp_path / "out" / "report.md").exists()
    monkeypatch.setattr(Contestant, "run", original)
    result = call(*words, "--resume")
    assert result.exit_code == 0, result.stderr
    [group] = json.loads((tmp_path / "out" / "bench.json").read_text())["groups"]
    assert [len(one["rounds"]) for one in group["contestants"]] == [2, 2, 2, 2]


@pytest.mark.parametrize(
    ("option", "value", "match"),
    [
        ("--model", "geometry:huge", "model must be one of geometry:llava-1.5-7b"),
        ("--model", "./missing", "does not exist"),
        ("--methods", "sts,magic", "methods must be of .*, got 'magic'"),
        ("--methods", "sts,sts", "methods must list different values"),
        ("--budgets", "37", "budgets must be at most 36, .* got 37"),
        ("--budgets", "0", "budget must be"),
        ("--budgets", "8,8", "budgets must list different values"),
        ("--batch", "0", "batch must be at least 1, got 0"),
        ("--batch", "two", "batch must be whole numbers with commas, got 'two'"),
        ("--preset", "tpu", "preset must be one of gpu, cpu, got 'tpu'"),
        ("--dtype", "int8", "dtype must be one of float32, bfloat16, float16, got 'int8'"),
        ("--attention", "magic", "attention must be auto or .*got 'magic'"),
    ],
)
def test_bad_input_is_one_line(refused, tmp_path, option, value, match):
    line = refused(*FAST, "--out", tmp_path / "out", option, value)
    assert re.search(match, line)
    assert not (tmp_path / "out").exists()


def test_layers_of_a_checkpoint(refused, tmp_path):
    line = refused(*FAST, "--model", "embedded", "--layers", "2", "--out", tmp_path / "out")
    assert "layers must be left out unless model is a geometry:" in line


def test_a_model_that_does_not_fit(refused, tmp_path, monkeypatch):
    from stsprune.bench import geometry

    monkeypatch.setattr(geometry, "free_memory", lambda device: 1000)
    line = refused(*FAST, "--out", tmp_path / "out")
    assert "model must fit the device" in line
    assert "GB free" in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_gpu_preset_without_a_gpu(refused):
    line = refused("bench", "--preset", "gpu")
    assert "preset gpu needs a GPU, and torch sees none" in line
    assert "--preset cpu" in line


def test_a_folder_that_holds_a_run(written, refused):
    out, _ = written
    before = (out / "bench.json").read_bytes()
    assert "--resume goes on with it" in refused(*FAST, "--out", out)
    assert (out / "bench.json").read_bytes() == before
