"""A small finished run that several tests read."""

from __future__ import annotations

import pytest

from stsprune.evaluation import runner
from stsprune.evaluation.jobs import make_jobs
from stsprune.evaluation.runner import Setup, model_shape, open_folder, run

NAMES = ["sts", "random", "fastv", "visionzip"]


@pytest.fixture(scope="session", autouse=True)
def small_shards():
    """Four scenes a shard, so that a small run has more than one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "SHARD", 4)
        yield


@pytest.fixture(scope="session")
def finished(tmp_path_factory, small_shards):
    """(folder, setup, jobs, refused) of four methods at two budgets over a few scenes."""
    folder, setup = tmp_path_factory.mktemp("run") / "out", Setup("validation", 5)
    jobs, refused = make_jobs(NAMES, [32, 8], *model_shape(), seeds=2)
    open_folder(folder, setup)
    run(folder, setup, jobs)
    return folder, setup, jobs, refused
