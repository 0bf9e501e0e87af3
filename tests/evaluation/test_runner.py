"""A run answers as the plain loop does, goes on where it was stopped and never mixes results."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from stsprune.embedded import load_embedded
from stsprune.errors import InvalidArgumentError
from stsprune.evaluation import answers, load_items
from stsprune.evaluation.jobs import Job, make_jobs
from stsprune.evaluation.runner import (
    HEADER,
    missing,
    model_shape,
    open_folder,
    read_shard,
    run,
    shard_path,
)
from stsprune.method import methods


def records(folder, setup):
    return [read_shard(shard_path(folder, *shard)) for shard in setup.shards()]


def plain(document):
    """Without what a clock says."""
    timed = {"seconds", "selection"}
    return {job: {k: v for k, v in one.items() if k not in timed} for job, one in document.items()}


def test_shared_work_changes_no_answer(finished):
    """Shared encoder outputs and choices against one pruned forward pass per batch."""
    folder, setup, jobs, _ = finished
    model, processor = load_embedded()
    items = load_items("validation", setup.scenes)
    for job in jobs:
        if job.name == "random":  # its choice depends on the image's place in the batch
            continue
        wanted = answers(model, processor, items, job.method)
        given = [a for shard in records(folder, setup) for a in shard[job.stored]["answer"]]
        assert given == wanted, job.key


def test_two_processes_give_what_one_gives(finished, tmp_path):
    folder, setup, jobs, _ = finished
    open_folder(tmp_path / "two", setup)
    seen = []
    run(tmp_path / "two", setup, jobs, processes=2, advance=seen.append)
    assert sum(seen) == setup.questions() * len(jobs)
    for one, two in zip(records(folder, setup), records(tmp_path / "two", setup), strict=True):
        assert plain(one) == plain(two)


def test_an_interrupted_run_goes_on_to_the_same_result(finished, tmp_path):
    folder, setup, jobs, _ = finished
    open_folder(tmp_path / "out", setup)

    class Stop(Exception):
        pass

    answered = []

    def stop(count):
        answered.append(count)
        if len(answered) == len(jobs) + 2:  # inside the second shard
            raise Stop

    with pytest.raises(Stop):
        run(tmp_path / "out", setup, jobs, advance=stop)
    left = missing(tmp_path / "out", setup, jobs)
    assert [(first, count) for first, count, _ in left] == [(4, 1)]
    open_folder(tmp_path / "out", setup)
    run(tmp_path / "out", setup, jobs)
    assert not missing(tmp_path / "out", setup, jobs)
    for one, two in zip(records(folder, setup), records(tmp_path / "out", setup), strict=True):
        assert plain(one) == plain(two)


def test_a_new_method_is_added_to_what_is_there(finished, tmp_path):
    folder, setup, jobs, _ = finished
    shutil.copytree(folder, tmp_path / "out")
    more = [*jobs, Job("grid", 8, methods()["grid"](8))]
    assert [job.name for _, _, todo in missing(tmp_path / "out", setup, more) for job in todo] == [
        "grid",
        "grid",
    ]
    run(tmp_path / "out", setup, more)
    for one, two in zip(records(folder, setup), records(tmp_path / "out", setup), strict=True):
        assert {name: two[name] for name in one} == one
        assert len(two) == len(one) + 1


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"made_by": "0" * 64}, "another version of the code or the weights"),
        ({"split": "test"}, "results of split 'test'"),
        ({"positions": "compact"}, "results of positions='compact'"),
        (None, "another version"),
    ],
)
def test_results_of_another_run_are_not_mixed(finished, tmp_path, changed, match):
    folder, setup, _, _ = finished
    shutil.copytree(folder, tmp_path / "out")
    header = tmp_path / "out" / HEADER
    theirs = "{broken" if changed is None else json.dumps(json.loads(header.read_text()) | changed)
    header.write_text(theirs)
    with pytest.raises(InvalidArgumentError, match=match):
        open_folder(tmp_path / "out", setup)
    assert len(list((tmp_path / "out" / "shards").iterdir())) == 2  # nothing is lost


def test_broken_and_foreign_files_are_named(finished, tmp_path):
    folder, setup, jobs, _ = finished
    shutil.copytree(folder, tmp_path / "out")
    path = shard_path(tmp_path / "out", *setup.shards()[0])
    path.write_text("[1, 2")
    with pytest.raises(InvalidArgumentError, match=r"broken file .*scenes-0000-0003"):
        missing(tmp_path / "out", setup, jobs)
    (tmp_path / "out" / HEADER).unlink()
    with pytest.raises(InvalidArgumentError, match=r"run.json' is missing"):
        open_folder(tmp_path / "out", setup)
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidArgumentError, match="out must be a folder, got the file"):
        open_folder(tmp_path / "file", setup)


@pytest.mark.parametrize(
    ("names", "budgets", "match"),
    [
        (["nonsense"], [16], "method must be one of .*sts.*, got 'nonsense'"),
        (["sts", "sts"], [16], "method must list different values"),
        (["sts"], [16, 16], "budget must list different values"),
        (["sts"], [], "budget must list different values"),
        (["sts"], [145], "budget must be at most 144"),
        (["sts"], [0], "budget must be at most 144, .* at least 1, got 0"),
    ],
)
def test_bad_jobs(names, budgets, match):
    with pytest.raises(InvalidArgumentError, match=match):
        make_jobs(names, budgets, *model_shape())


def test_numpy_budgets_are_named_as_builtin_ones():
    made = make_jobs(["sts", "fastv"], np.array([16, 8]), *model_shape())
    assert made == make_jobs(["sts", "fastv"], [16, 8], *model_shape())
    jobs, refused = made
    assert {type(one.budget) for one in [*jobs[1:], *refused]} == {int}


def test_a_budget_out_of_reach_is_said_not_hidden(finished):
    _, _, jobs, refused = finished
    assert [(one.name, one.budget) for one in refused] == [("fastv", 8)]
    assert "budget must be at least" in refused[0].reason
    assert [job.key for job in jobs if job.name == "random"] == [
        "random@32#0",
        "random@32#1",
        "random@8#0",
        "random@8#1",
    ]
