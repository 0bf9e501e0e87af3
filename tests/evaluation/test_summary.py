"""A summary says what the records say."""

from __future__ import annotations

import csv
import io
import json
import math
from statistics import fmean

import pytest

from stsprune.embedded import load_embedded
from stsprune.evaluation import accuracy, answers, load_items
from stsprune.evaluation.runner import model_shape, read_shard, shard_path
from stsprune.evaluation.stats import mcnemar
from stsprune.evaluation.summary import as_csv, summarise


@pytest.fixture(scope="module")
def document(finished):
    folder, setup, jobs, refused = finished
    return summarise(folder, setup, jobs, refused, model_shape())


def row(document, name, budget):
    return next(r for r in document["rows"] if (r["name"], r["budget"]) == (name, budget))


def given(finished, name, budget):
    folder, setup, jobs, _ = finished
    stored = next(job.stored for job in jobs if (job.name, job.budget) == (name, budget))
    shards = [read_shard(shard_path(folder, *shard)) for shard in setup.shards()]
    return [a for shard in shards for a in shard[stored]["answer"]]


def test_one_row_per_method_and_budget(document, finished):
    assert [(r["name"], r["budget"], r["runs"]) for r in document["rows"]] == [
        ("unpruned", None, 1),
        ("sts", 32, 1),
        ("sts", 8, 1),
        ("random", 32, 2),
        ("random", 8, 2),
        ("fastv", 32, 1),
        ("visionzip", 32, 1),
        ("visionzip", 8, 1),
    ]
    assert document["refused"][0]["name"] == "fastv"
    assert document["questions"] == len(load_items("validation", finished[1].scenes))


def test_accuracy_is_that_of_the_answers(document, finished):
    items = load_items("validation", finished[1].scenes)
    for name, budget in (("unpruned", None), ("sts", 8), ("visionzip", 8)):
        wanted = accuracy(items, given(finished, name, budget))
        got = row(document, name, budget)["accuracy"]
        for family, value in wanted.items():
            mean, low, high = got[family]
            assert mean == pytest.approx(value, abs=1e-5)
            assert 0 <= low <= mean + 1e-5
            assert mean - 1e-5 <= high <= 1
        families = [value for family, value in wanted.items() if family != "all"]
        assert got["mean"][0] == pytest.approx(fmean(families), abs=1e-5)


def test_the_paired_test_is_on_the_same_questions(document, finished):
    wanted = [item.question.answer for item in load_items("validation", finished[1].scenes)]
    right = [
        [a == b for a, b in zip(given(finished, name, 8), wanted, strict=True)]
        for name in ("sts", "visionzip")
    ]
    wins, losses, p = mcnemar(*right)
    against = row(document, "visionzip", 8)["against"]
    assert (against["wins"], against["losses"], against["p"]) == (wins, losses, p)
    assert p <= against["p_holm"] <= 2 * p + 1e-12
    assert "against" not in row(document, "sts", 8)
    parts = against["families"].values()
    assert sum(part["wins"] for part in parts) == wins
    assert sum(part["losses"] for part in parts) == losses


def test_unpruned_is_its_own_measure(document):
    whole = row(document, "unpruned", None)
    assert whole["relative"] == whole["agreement"] == whole["speed"] == 1.0
    assert whole["kl"] == 0.0
    assert row(document, "visionzip", 8)["kl"] > 0.01
    assert row(document, "visionzip", 8)["flops"] < whole["flops"] / 2


def test_figures_are_there_and_finite(document):
    for one in document["rows"][1:]:
        for stage in ("first", "middle"):
            assert all(math.isfinite(value) for value in one[stage].values())
            assert 1 <= one[stage]["rank"] <= one[stage]["kept"] + 1e-3
    assert row(document, "sts", 8)["first"]["kept"] > row(document, "sts", 8)["middle"]["kept"]
    assert 0 < row(document, "visionzip", 8)["entropy"] < 1
    assert "entropy" not in row(document, "random", 8)
    json.dumps(document, allow_nan=False)


def test_the_average_of_tokens_is_the_budget(document):
    for one in document["rows"][1:]:
        assert fmean(one["tokens_per_layer"]) <= one["budget"]
        assert fmean(one["tokens_per_layer"]) > one["budget"] - 1.2


def test_csv_holds_the_rows(document):
    lines = list(csv.DictReader(io.StringIO(as_csv(document))))
    assert [line["method"] for line in lines] == [one["name"] for one in document["rows"]]
    assert float(lines[2]["all accuracy"]) == pytest.approx(
        document["rows"][2]["accuracy"]["all"][0], abs=1e-4
    )


def test_kl_is_that_of_the_distributions(finished):
    """Against two forward passes of the first shard."""
    import torch

    from stsprune.engine import prune
    from stsprune.evaluation.sceneqa import encode

    folder, setup, jobs, _ = finished
    job = next(j for j in jobs if (j.name, j.budget) == ("sts", 8))
    stored = read_shard(shard_path(folder, *setup.shards()[1]))[job.stored]["kl"]
    model, processor = load_embedded()
    inputs = encode(processor, load_items("validation", 1, start=4))
    with torch.inference_mode():
        whole = model(**inputs, logits_to_keep=1).logits[:, -1].log_softmax(-1)
        with prune(model, job.method):
            pruned = model(**inputs, logits_to_keep=1).logits[:, -1].log_softmax(-1)
    wanted = (whole.exp() * (whole - pruned)).sum(-1)
    assert stored == pytest.approx(wanted.clamp_min(0).tolist(), abs=1e-3)
    assert answers(model, processor, load_items("validation", 1, start=4), job.method)
