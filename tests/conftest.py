"""Tiny random models, so that every test runs offline and in a moment."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
from seen import DIFFERENCES
from tiny_llava import make_llava


@pytest.fixture(scope="session", params=["sdpa", "eager"])
def any_llava(request):
    return make_llava(request.param)


@pytest.fixture(scope="session")
def llava():
    return make_llava()


def pytest_terminal_summary(terminalreporter):
    if DIFFERENCES:
        terminalreporter.section("largest logit difference to each oracle")
        for name in sorted({name for name, _ in DIFFERENCES}):
            seen = [
                f"{oracle} {DIFFERENCES[name, oracle]:.1e}"
                for oracle in ("masked", "by hand")
                if (name, oracle) in DIFFERENCES
            ]
            terminalreporter.write_line(f"{name:36} {'   '.join(seen)}")


# With pytest-xdist each worker sees a part of the tests: the largest difference of all is shown.


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["differences"] = list(DIFFERENCES.items())


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    for key, value in getattr(node, "workeroutput", {}).get("differences", ()):
        DIFFERENCES[key] = max(value, DIFFERENCES.get(key, 0.0))
