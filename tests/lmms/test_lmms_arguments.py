"""`--model_args`: what is read, and one clear error for each slip, before any weights."""

from __future__ import annotations

import sys

import pytest

from stsprune.errors import InvalidArgumentError, InvalidTypeError, MissingExtraError, StsPruneError
from stsprune.lmms import manifest
from stsprune.lmms.arguments import Arguments, read_arguments
from stsprune.method import STS, Random, methods

GOOD = {"pretrained": "embedded", "budget": 16}


def test_defaults_and_settings():
    assert read_arguments(GOOD) == Arguments("embedded", STS(16))
    read = read_arguments(
        GOOD
        | {"ratio": 2, "layer": "None", "withdraw": "none", "queries": "last", "batch_size": "4"}
        | {"positions": "compact", "dtype": "bfloat16", "device": "cpu", "family": "generic"}
    )
    assert read.method == STS(16, ratio=2.0, layer=None, withdraw=None, queries="last")
    assert (read.batch_size, read.positions, read.dtype) == (4, "compact", "bfloat16")
    assert read.family == "generic"
    seeded = read_arguments(GOOD | {"method": "random", "seed": 3, "budget": 0.25})
    assert seeded.method == Random(0.25, seed=3)
    assert read_arguments({"pretrained": "embedded", "method": "none"}).method is None


@pytest.mark.parametrize("name", methods())
def test_every_method(name):
    assert type(read_arguments(GOOD | {"method": name}).method) is methods()[name]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"pretrained": None}, r"^pretrained must be given"),
        ({"budget": None}, r"^budget must be given"),
        ({"budget": 0}, r"^budget must be an int >= 1"),
        ({"budget": -3.0}, r"^budget must be .* got -3.0"),
        ({"budget": 64.0}, r"^budget must be .* got 64.0"),
        ({"budget": "64tokens"}, r"^budget must be .* got '64tokens'"),
        ({"method": "stss"}, r"^method must be one of .*sts.* got 'stss'"),
        ({"method": "none"}, r"^budget must not be given with method=none"),
        ({"ratoi": 2}, r"^ratoi is no argument: allowed are pretrained.*ratio"),
        ({"method": "grid", "ratio": 2}, r"^ratio is no argument.*method=grid"),
        ({"ratio": "big"}, r"^ratio must be float, got 'big'"),
        ({"layer": 2.5}, r"^layer must be int or None, got 2.5"),
        ({"structure": 1}, r"^structure must be bool, got 1"),
        ({"ratio": 0.5}, r"^ratio must be in \[1, 100\]"),
        ({"positions": "new"}, r"^positions must be one of original, compact"),
        ({"family": "Qwen9"}, r"^family must be one of .* got 'Qwen9'"),
        ({"batch_size": "auto"}, r"^batch_size must be an int >= 1, got 'auto'"),
        ({"batch_size": 0}, r"^batch_size must be an int >= 1, got 0"),
        ({"dtype": "float8"}, r"^dtype must be one of auto, float32"),
        ({"device": "gpu"}, r"^device must be a torch device .* got 'gpu'"),
        ({"device": "cuda:99"}, r"^device must exist, got 'cuda:99'"),
        ({"attn_implementation": "flex_attention"}, r"^attn_implementation must be sdpa, eager"),
        ({"max_pixels": 1.5}, r"^max_pixels must be an int >= 1, got 1.5"),
        ({"min_pixels": 9, "max_pixels": 4}, r"^min_pixels must be at most max_pixels=4, got 9"),
    ],
)
def test_wrong(wrong, message):
    given = {name: value for name, value in (GOOD | wrong).items() if value is not None}
    with pytest.raises((InvalidArgumentError, InvalidTypeError), match=message):
        read_arguments(given)


def test_missing_extra(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "lmms_eval"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lmms_eval", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'stsprune\[lmms\]'") as caught:
        manifest()
    assert isinstance(caught.value, StsPruneError)
    assert isinstance(caught.value, ImportError)


def test_other_missing_packages_keep_their_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "lmms_eval", None)
    from stsprune.lmms import missing_extra

    broken = ModuleNotFoundError("No module named 'loguru'", name="loguru")
    assert missing_extra(broken) is broken
