"""Tiny random models, so that every test runs offline and in a moment."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
from differences import DIFFERENCES
from tiny_llava import make_llava


@pytest.fixture(scope="session", params=["sdpa", "eager"])
def any_llava(request):
    return make_llava(request.param)


@pytest.fixture(scope="session")
def llava():
    return make_llava()


def pytest_terminal_summary(terminalreporter):
    if DIFFERENCES:
        terminalreporter.section("largest logit difference to the masked reference")
        for name, value in sorted(DIFFERENCES.items()):
            terminalreporter.write_line(f"{name:24} {value:.1e}")


# With pytest-xdist each worker sees a part of the tests: the largest difference of all is shown.


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["differences"] = DIFFERENCES


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    for name, value in getattr(node, "workeroutput", {}).get("differences", {}).items():
        DIFFERENCES[name] = max(value, DIFFERENCES.get(name, 0.0))
