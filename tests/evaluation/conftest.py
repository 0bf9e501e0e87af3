"""A small finished run that several tests read."""

from __future__ import annotations

import pytest

from stsprune.evaluation.jobs import make_jobs
from stsprune.evaluation.runner import Setup, model_shape, open_folder, run

NAMES = ["sts", "random", "fastv", "visionzip"]


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """(folder, setup, jobs, refused) of four methods at two budgets over ten scenes."""
    folder, setup = tmp_path_factory.mktemp("run") / "out", Setup("validation", 10)
    jobs, refused = make_jobs(NAMES, [32, 8], *model_shape(), seeds=2)
    open_folder(folder, setup)
    run(folder, setup, jobs)
    return folder, setup, jobs, refused
