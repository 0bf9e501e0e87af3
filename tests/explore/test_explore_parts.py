"""What the page is made of, without Gradio: address, pictures, jobs, documents, the command."""

from __future__ import annotations

import json
import threading
import zipfile

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import stsprune
from stsprune.cli import app
from stsprune.cli.answer import run
from stsprune.errors import InvalidArgumentError
from stsprune.explore.address import read_address
from stsprune.explore.download import write_download
from stsprune.explore.examples import EXAMPLES
from stsprune.explore.explorer import Explorer
from stsprune.explore.jobs import Job, Stopped, Worker
from stsprune.explore.picture import drawn, scene_grid, uploaded
from stsprune.explore.serve import check_port
from stsprune.explore.wanted import Wanted
from stsprune.method import methods

NAMES = list(methods())


@pytest.fixture(scope="module")
def embedded():
    return stsprune.load_embedded()


@pytest.fixture(scope="module")
def explorer(embedded):
    return Explorer(*embedded, "embedded")


@pytest.fixture(scope="module")
def scene(embedded):
    return drawn(3, scene_grid(embedded[0]))


def test_an_address_is_read_back():
    query = (
        "?scene=7&question=what+is+it%3F&method=tome&budget=9&compare=1&other=grid&other_budget=5"
    )
    state, wrong = read_address(query, NAMES)
    assert wrong == []
    assert (state.scene, state.question, state.method, state.budget) == (
        7,
        "what is it?",
        "tome",
        9,
    )
    assert (state.compare, state.other, state.other_budget) == (True, "grid", 5)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("scene=-1", "scene in the address must be a whole number in 0..99999, got '-1'"),
        ("scene=1e9", "scene"),
        ("budget=0", "budget in the address must be a whole number 1 or more, got '0'"),
        ("budget=²", "budget"),
        ("method=best", "method in the address must be one of the methods, got 'best'"),
        ("other=%3Cscript%3E", "other"),
        ("question=" + "a" * 501, "question in the address must have at most 500"),
    ],
)
def test_what_an_address_must_not_hold(query, says):
    state, wrong = read_address(query, NAMES)
    assert len(wrong) == 1
    assert says in wrong[0]
    assert state == read_address("", NAMES)[0]


def test_a_column_is_what_the_command_line_gives(embedded, explorer, scene):
    question = scene.asked[1][0]
    view = explorer.view(scene, question, [Wanted("sts", 16), Wanted("tome", 8)], Job(0))
    json.dumps(view, allow_nan=False)
    for column, name in zip(view["columns"], ("sts", "tome"), strict=True):
        method = methods()[name](budget=column["budget"])
        told = run(*embedded, scene.pixels, question, method)
        plain = run(*embedded, scene.pixels, question)
        assert column["answer"] == told.answer
        assert column["average"] == told.visual_tokens
        assert (column["kv_bytes"], view["prompt"]["kv_bytes"]) == (told.kv_bytes, plain.kv_bytes)
        assert view["prompt"]["answer"] == plain.answer
        assert [stage["cells"] for stage in column["stages"]] == [s.shown for s in told.stages]
        assert len(column["per_layer"]) == view["model"]["layers"]


def test_scores_and_probabilities(embedded, explorer, scene):
    model, processor = embedded
    question = scene.asked[0][0]
    view = explorer.view(scene, question, [Wanted("sts", 10)], Job(0))
    column = view["columns"][0]
    inputs = explorer._prompts[scene.key, question][0].inputs
    with torch.inference_mode():
        plain = model(**inputs).logits[0, -1].softmax(-1)
        with stsprune.prune(model, stsprune.STS(budget=10)) as trace:
            pruned = model(**inputs).logits[0, -1].softmax(-1)
    for told, stage in zip(column["stages"], trace.images[0].stages, strict=True):
        assert (told["scores"] is None) == (stage.scores is None)
        if stage.scores is not None:
            assert told["scores"] == pytest.approx(stage.scores.tolist(), abs=1e-5)
            kept = sorted(told["scores"], reverse=True)[: told["kept"]]
            best = dict(zip(told["scored"], told["scores"], strict=True))
            assert sorted(map(best.get, told["cells"]), reverse=True) == pytest.approx(kept)
    first = column["changes"][0]
    assert first["place"] == 0
    for candidate in first["candidates"]:
        token = processor.tokenizer.convert_tokens_to_ids(candidate["token"])
        assert candidate["before"] == pytest.approx(float(plain[token]), abs=1e-4)
        assert candidate["after"] == pytest.approx(float(pruned[token]), abs=1e-4)


def test_a_method_that_cannot_reach_the_budget_is_told_in_its_column(explorer, scene):
    view = explorer.view(scene, scene.asked[0][0], [Wanted("fastv", 2), Wanted("grid", 2)], Job(0))
    assert "budget must be at least" in view["columns"][0]["error"]
    assert "error" not in view["columns"][1]


@pytest.mark.parametrize("question", ["", "  ", "who is the king?", "what is <image> ?"])
def test_questions_that_cannot_be_asked(explorer, scene, question):
    with pytest.raises(InvalidArgumentError, match="question"):
        explorer.view(scene, question, [Wanted("sts", 10)], Job(0))


def test_examples_can_be_asked(embedded, explorer):
    grid = scene_grid(embedded[0])
    for example in EXAMPLES:
        picture, budget = example.picture(grid), round(example.share * grid * grid)
        columns = [Wanted(example.method, budget), Wanted(example.other, budget)]
        view = explorer.view(picture, example.question(grid), columns, Job(0))
        assert view["prompt"]["truth"]
        assert [column.get("error") for column in view["columns"]] == [None, None], example


def test_an_upload_is_named_without_its_folder(tmp_path):
    path = tmp_path / "broken.png"
    path.write_bytes(b"no picture")
    with pytest.raises(InvalidArgumentError) as caught:
        uploaded(str(path))
    assert "'broken.png'" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_an_upload_of_any_size_can_be_asked_about(explorer, tmp_path):
    path = tmp_path / "one.png"
    Image.new("RGB", (1, 1), "red").save(path)
    view = explorer.view(uploaded(str(path)), "what is the background?", [Wanted("sts", 9)], Job(0))
    assert view["prompt"]["picture"]["scene"] is None
    assert view["prompt"]["truth"] is None
    assert view["columns"][0]["average"] == 9


def test_a_stopped_job_ends_between_two_layers_and_leaves_the_model_as_it_was(embedded, scene):
    model, _ = embedded
    fresh = Explorer(*embedded, "embedded")
    job, layers = Job(0), model.model.language_model.layers
    before = [len(layer._forward_pre_hooks) for layer in layers]

    def stop(*_):
        job.stop()

    handle = layers[4].register_forward_pre_hook(stop)
    try:
        with pytest.raises(Stopped):
            fresh.view(scene, scene.asked[0][0], [Wanted("sts", 12)], job)
        assert job.step == f"decoder layer 4 of {len(layers)}"  # the fifth never began
    finally:
        handle.remove()
    assert [len(layer._forward_pre_hooks) for layer in layers] == before
    with stsprune.prune(model, stsprune.STS(budget=5)):
        pass  # nobody is inside any more


def test_jobs_of_two_threads_never_meet():
    worker, inside, most = Worker(), [], []

    def work(job):
        inside.append(job)
        most.append(len(inside))
        threading.Event().wait(0.01)
        inside.remove(job)

    jobs = [worker.submit(work) for _ in range(5)]
    assert worker.ahead(jobs[4]) <= 4
    jobs[3].stop()
    results = [job.future.exception() for job in jobs]
    assert most == [1, 1, 1, 1]
    assert isinstance(results[3], Stopped)
    assert worker.ahead(jobs[4]) == 0


def test_download(explorer, scene):
    columns = [Wanted("sts", 10), Wanted("space=0", 6), Wanted("fastv", 2)]
    view = explorer.view(scene, scene.asked[0][0], columns, Job(0))
    with zipfile.ZipFile(write_download(view)) as archive:
        names = set(archive.namelist())
        assert names == {"1-sts-10.png", "2-space_0-6.png", "trace.json"}
        told = json.loads(archive.read("trace.json"))
        assert told["columns"] == json.loads(json.dumps(view["columns"]))
        assert "source" not in told["prompt"]["picture"]
        for name in names - {"trace.json"}:
            assert Image.open(archive.open(name)).width > 400


def test_without_the_extra_a_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr("stsprune.explore.find_spec", lambda name: None)
    result = CliRunner().invoke(app, ["explore"])
    assert result.exit_code == 2
    assert result.stderr == ("stsprune: gradio is not installed: pip install 'stsprune[explore]'\n")


def test_a_port_in_use():
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InvalidArgumentError, match=f"port must be a free one, got {port}"):
            check_port(port)
    check_port(port)
