"""SceneQA 2 as a benchmark: answers of several tokens, and a table with one family left out."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

import stsprune
from stsprune.errors import InvalidArgumentError
from stsprune.evaluation import encode, load_items
from stsprune.evaluation.benchmarks import find_benchmark
from stsprune.evaluation.jobs import Job
from stsprune.evaluation.runner import Setup, model_shape, open_folder, run
from stsprune.evaluation.shard import answer_shard
from stsprune.evaluation.summary import _Judge, _without_a_family, as_csv, summarise
from stsprune.method import STS, Random

BENCHMARK = find_benchmark("sceneqa2")


@pytest.fixture(scope="module")
def large():
    return stsprune.load_embedded("large")


@torch.inference_mode()
def test_answers_are_those_of_generate(large):
    """Short and long ones, unpruned and pruned, in the order of the questions."""
    model, processor = large
    items = load_items("validation", 1, start=2, benchmark="sceneqa2")
    assert {item.question.family in BENCHMARK.short for item in items} == {True, False}
    jobs = [Job.unpruned(), Job("sts", 128, STS(128))]
    records = answer_shard(model, processor, items, jobs, benchmark=BENCHMARK)
    for job in jobs:
        record = records[job.stored]
        assert len(record["answer"]) == len(record["kl"]) == len(items)
        for item, answer in zip(items, record["answer"], strict=True):
            inputs = encode(processor, [item])
            limit = 1 if item.question.family in BENCHMARK.short else BENCHMARK.longest
            said = {"max_new_tokens": limit, "do_sample": False}
            if job.method is None:
                out = model.generate(**inputs, **said)
            else:
                with stsprune.prune(model, job.method):
                    out = model.generate(**inputs, **said)
            new = out[0, inputs["input_ids"].shape[1] :]
            assert answer == processor.tokenizer.decode(new, skip_special_tokens=True)


def test_most_unpruned_answers_are_right(large):
    items = load_items("validation", 2, benchmark="sceneqa2")
    records = answer_shard(*large, items, [Job.unpruned()], benchmark=BENCHMARK)
    given = records[Job.unpruned().stored]["answer"]
    right = [item.question.answer == answer for item, answer in zip(items, given, strict=True)]
    assert sum(right) > 0.8 * len(right)
    assert any(len(answer.split()) > 1 for answer in given)


def test_a_whole_run(tmp_path):
    setup = Setup("validation", 1, benchmark="sceneqa2")
    shape = model_shape("sceneqa2")
    assert shape == (576, 8)
    jobs = [Job.unpruned(), Job("sts", 64, STS(64)), Job("random", 64, Random(64, seed=0), 0)]
    open_folder(tmp_path, setup)
    run(tmp_path, setup, jobs)
    document = summarise(tmp_path, setup, jobs, [], shape)
    assert document["benchmark"] == "sceneqa2"
    assert document["visual_tokens"] == 576
    cells = document["without"]
    assert {cell["without"] for cell in cells} == {None, *document["families"]}
    assert {cell["best"] for cell in cells} == {"random"}
    assert as_csv(document).count("\n") == 4
    long = {row["name"]: row["long"] for row in document["rows"]}
    assert long["unpruned"]["same"] == 1
    assert all(row["tokens"] >= row["whole"] for row in long.values())
    assert long["random"]["same"] < 1
    with pytest.raises(InvalidArgumentError, match="results of benchmark 'sceneqa2'"):
        open_folder(tmp_path, Setup("validation", 1))


def test_a_family_left_out_by_hand():
    def row(name, a, b):
        return {"name": name, "budget": 8, "accuracy": {"a": [a, 0, 1], "b": [b, 0, 1]}}

    rows = [row("sts", 0.9, 0.5), row("x", 0.7, 0.6), row("y", 0.2, 0.9)]
    rows.append(row("structure-only", 1.0, 1.0))  # an ablation is no other method
    cells = _without_a_family(rows, ["a", "b"])
    assert [(cell["without"], cell["best"], cell["lead"]) for cell in cells] == [
        (None, "x", 0.05),
        ("a", "y", -0.4),
        ("b", "x", 0.2),
    ]


def test_answers_of_several_tokens_by_hand():
    """Two families weigh the same; a short answer leaves its place empty, a longer one is wrong."""

    def item(family, answer):
        scene = SimpleNamespace(index=0)
        return SimpleNamespace(scene=scene, question=SimpleNamespace(family=family, answer=answer))

    asked = [item("list", "red blue"), item("read", "c a t"), item("read", "1 2"), item("count", 3)]
    judge = _Judge(asked, ["list", "read", "count"], BENCHMARK)
    given = ["red green", "c a", "1 2 3", "4"]
    found = judge.several(given, ["red blue", "c a", "1 2", "3"])
    assert found["tokens"] == pytest.approx((1 / 2 + (2 / 3 + 1) / 2) / 2)
    assert found["whole"] == 0
    assert found["same"] == pytest.approx((0 + 1 / 2) / 2)


def test_an_unknown_benchmark():
    with pytest.raises(InvalidArgumentError, match="benchmark must be one of sceneqa, sceneqa2"):
        find_benchmark("vqa")
