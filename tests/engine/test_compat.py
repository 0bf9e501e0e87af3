"""Versions of transformers: what is refused, what is warned of, what keeps its name."""

from __future__ import annotations

import warnings

import pytest
import torch
from transformers import DynamicCache

import stsprune
from stsprune.engine import compat
from stsprune.errors import UnsupportedVersionError, UntestedVersionWarning


def test_below_the_floor_the_error_names_both_and_the_line():
    with pytest.raises(UnsupportedVersionError, match=r"got 5\.5\.4 .*pip install 'transformers>="):
        compat.check_version("5.5.4")


def test_prune_checks_before_it_touches_anything(llava, monkeypatch):
    monkeypatch.setattr(compat, "FLOOR", "99.0.0")
    monkeypatch.setattr(compat.check_version, "__defaults__", ("5.0.0",))
    before = dict(llava.__dict__)
    with (
        pytest.raises(UnsupportedVersionError, match=r"at least 99\.0\.0, got 5\.0\.0"),
        stsprune.prune(llava, stsprune.STS(budget=8)),
    ):
        pass
    assert llava.__dict__ == before


def test_above_the_newest_one_warning():
    told = rf"99\.1\.0.* {compat.NEWEST}.*`stsprune check --model"
    with pytest.warns(UntestedVersionWarning, match=told):
        compat.check_version("99.1.0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compat.check_version("99.1.0")


@pytest.mark.parametrize("version", [compat.FLOOR, compat.NEWEST, "5.20.0.dev0", "5.23.0rc1"])
def test_between_them_nothing_is_said(version):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compat.check_version(version)


def test_the_cache_is_found_under_either_name_and_given_under_one():
    cache = DynamicCache()
    for name in ("cache", "past_key_values"):
        given = {name: cache, "use_cache": True}
        assert compat.cache_of(given) is cache
        assert compat.with_cache(given, cache) == {"use_cache": True, compat.CACHE: cache}
    assert compat.cache_of({"cache": None}) is None


def test_masks_are_sized_by_their_own_layer(llava):
    """Layers of one cache that hold 3 and 5 tokens, one query: 4 and 6 keys."""
    cache = stsprune.engine.cache.adopt(None, llava.get_decoder().config, False, None)
    for layer, held in enumerate((3, 5)):
        states = torch.zeros(2, 1, held, 4)
        cache.update(states, states, layer)
    cache.groups = []
    config = llava.config.get_text_config()
    for layer, held in enumerate((3, 5)):
        valid = torch.ones(2, held + 1, dtype=torch.bool)
        valid[0, 0] = False
        sizes = compat._OneLayer(cache, layer)
        assert sizes.get_seq_length() == held
        mask = compat.causal_mask(config, torch.zeros(2, 1, 8), valid, cache, layer)
        assert mask.shape == (2, 1, 1, held + 1)
        assert mask[:, 0, 0].equal(valid)
