"""Tests with a real vLLM on the CPU: `make test-vllm`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks" / "serving"))


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("vllm")


@pytest.fixture(scope="session")
def embedded(tmp_path_factory):
    """Folder of the embedded model under the hub's names."""
    from stsprune.embedded.load import export_hub

    folder = tmp_path_factory.mktemp("models") / "embedded"
    export_hub(folder)
    return folder
