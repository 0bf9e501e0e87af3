"""What one process of a server hands on to the others."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import pytest
from vllm.config.multimodal import MultiModalConfig

from stsprune.errors import InvalidArgumentError, UnsupportedModeError
from stsprune.serving.families import SERVED
from stsprune.serving.settings import read_settings
from stsprune.serving.start import check_server, prepare

LLAVA = SERVED["LlavaForConditionalGeneration"]
HERE = {"STSPRUNE_BUDGET": "48", "STSPRUNE_POSITIONS": "compact"}


@pytest.fixture
def sent(monkeypatch):
    for name, value in HERE.items():
        monkeypatch.setenv(name, value)
    multimodal = MultiModalConfig()
    prepare(LLAVA, read_settings(HERE), SimpleNamespace(multimodal_config=multimodal))
    return pickle.dumps(multimodal)


def test_same_settings_elsewhere(sent):
    there = pickle.loads(sent)
    assert there.stsprune == read_settings(HERE)
    assert not there.is_multimodal_pruning_enabled()


@pytest.mark.parametrize(
    ("name", "value"), [("STSPRUNE_BUDGET", "16"), ("STSPRUNE_POSITIONS", "original")]
)
def test_other_settings_elsewhere(sent, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidArgumentError, match="must be set alike in all processes"):
        pickle.loads(sent)


def test_no_settings_elsewhere(sent, monkeypatch):
    for name in HERE:
        monkeypatch.delenv(name)
    with pytest.raises(InvalidArgumentError, match="got None here"):
        pickle.loads(sent)


def server(**changed):
    """As much of vLLM's configuration as is checked."""
    plain = {
        "parallel_config": SimpleNamespace(pipeline_parallel_size=1),
        "speculative_config": None,
        "kv_transfer_config": None,
        "ec_transfer_config": None,
        "compilation_config": SimpleNamespace(cudagraph_mm_encoder=False),
        "lora_config": None,
    }
    return SimpleNamespace(**plain | changed)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"kv_transfer_config": object()}, "--kv-transfer-config must not be set"),
        ({"ec_transfer_config": object()}, "--ec-transfer-config must not be set"),
        (
            {"speculative_config": SimpleNamespace(method="eagle")},
            "must be of method ngram .* got eagle",
        ),
    ],
)
def test_ways_to_run_that_are_refused(changed, said):
    settings = read_settings({"STSPRUNE_BUDGET": "48"})
    check_server(settings, server())
    check_server(settings, server(speculative_config=SimpleNamespace(method="ngram")))
    with pytest.raises(UnsupportedModeError, match=said):
        check_server(settings, server(**changed))
