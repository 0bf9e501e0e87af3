"""Settings of a server: read from the environment, refused with what is allowed."""

import numpy as np
import pytest

from stsprune.errors import InvalidArgumentError, InvalidTypeError
from stsprune.serving.plugin import register
from stsprune.serving.settings import ServingSettings, read_settings


def test_off_unless_asked_for():
    assert read_settings({}) is None
    assert read_settings({"STSPRUNE_BUDGET": " "}) is None


def test_reads_all():
    environment = {
        "STSPRUNE_BUDGET": "64",
        "STSPRUNE_POSITIONS": "compact",
        "STSPRUNE_UNPRUNED": "1",
    }
    assert read_settings(environment) == ServingSettings(64, True, True)
    assert read_settings({"STSPRUNE_BUDGET": "0.25"}) == ServingSettings(0.25)
    assert read_settings({"STSPRUNE_BUDGET": "1.0"}) == ServingSettings(1.0)


def test_plain_numbers():
    assert ServingSettings(np.int64(64)).tag() == ServingSettings(64).tag()
    assert type(ServingSettings(np.float32(0.5)).budget) is float
    with pytest.raises(InvalidTypeError, match="budget must be"):
        ServingSettings("64")


@pytest.mark.parametrize("budget", ["0", "-3", "none", "1.5", "0.0", "nan", "inf", "6 4", "1e400"])
def test_bad_budget(budget):
    with pytest.raises(InvalidArgumentError, match=r"STSPRUNE_BUDGET must be .* got '"):
        read_settings({"STSPRUNE_BUDGET": budget})


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("STSPRUNE_POSITIONS", "original or compact"),
        ("STSPRUNE_UNPRUNED", "0 or 1"),
    ],
)
def test_bad_choice(name, allowed):
    with pytest.raises(InvalidArgumentError, match=f"{name} must be {allowed}, got 'maybe'"):
        read_settings({"STSPRUNE_BUDGET": "64", name: "maybe"})


def test_the_removed_setting_is_refused():
    with pytest.raises(InvalidArgumentError, match="STSPRUNE_SEMANTICS must be unset"):
        read_settings({"STSPRUNE_BUDGET": "64", "STSPRUNE_SEMANTICS": "embedding"})
    assert read_settings({"STSPRUNE_BUDGET": "64", "STSPRUNE_SEMANTICS": "off"})


def test_settings_without_a_budget():
    with pytest.raises(InvalidArgumentError, match="STSPRUNE_BUDGET must be set"):
        read_settings({"STSPRUNE_POSITIONS": "compact"})


def test_tag_tells_settings_apart():
    several = [
        ServingSettings(64),
        ServingSettings(32),
        ServingSettings(64, True),
        ServingSettings(64, space=0.5),
    ]
    assert len({one.tag() for one in several}) == len(several)


def test_plugin_does_nothing_unless_asked(monkeypatch):
    monkeypatch.delenv("STSPRUNE_BUDGET", raising=False)
    register()  # vLLM is not needed for that
    monkeypatch.setenv("STSPRUNE_BUDGET", "no")
    with pytest.raises(InvalidArgumentError, match="STSPRUNE_BUDGET"):
        register()
