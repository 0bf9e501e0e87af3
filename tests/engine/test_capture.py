"""Scores are read without changing what an attention module sees of itself."""

from __future__ import annotations

import types

import pytest
import torch
from snapshot import Snapshot
from tiny_llava import make_inputs, make_llava
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import stsprune
from stsprune.errors import UnsupportedModelError
from stsprune.method import STS

METHOD = STS(8, layer=1, ratio=1.6)
ROWS = [[3, "image", 5]]


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
@torch.no_grad()
def test_a_scoring_layer_sees_its_own_backend_and_config(backend, monkeypatch):
    model = make_llava(backend)
    attention = model.get_decoder().layers[1].self_attn
    config, seen = attention.config, []
    original = type(attention).forward

    def forward(self, *args, **kwargs):
        if self is attention:
            seen.append((self.config is config, self.config._attn_implementation))
        return original(self, *args, **kwargs)

    monkeypatch.setattr(type(attention), "forward", forward)
    with stsprune.prune(model, METHOD) as trace:
        model(**make_inputs(ROWS))
    assert trace.images[0].stages[1].layer == 1
    assert seen == [(True, backend)]


@torch.no_grad()
def test_the_registry_is_as_before_and_other_modules_pass_through(llava):
    other = make_llava(seed=1)
    plain = other(**make_inputs(ROWS)).logits
    found = []

    def inside(module, args, output):
        found.append("get_interface" in vars(ALL_ATTENTION_FUNCTIONS))
        found.append(bool((other(**make_inputs(ROWS)).logits == plain).all()))

    scoring = llava.get_decoder().layers[1]
    handle = scoring.self_attn.register_forward_pre_hook(
        lambda module, args, kwargs: inside(module, args, None), with_kwargs=True
    )
    with stsprune.prune(llava, METHOD):
        llava(**make_inputs(ROWS))
        assert "get_interface" not in vars(ALL_ATTENTION_FUNCTIONS)
    handle.remove()
    assert found == [True, True]


@torch.no_grad()
def test_attention_that_does_not_ask_the_registry_is_an_error():
    """Its semantic stage would silently drop nothing."""
    model = make_llava()
    attention = model.get_decoder().layers[1].self_attn

    def forward(self, hidden_states, **kwargs):
        return torch.zeros_like(hidden_states), None

    attention.forward = types.MethodType(forward, attention)
    before = Snapshot(model)
    with (
        pytest.raises(UnsupportedModelError, match="layer 1 did not"),
        stsprune.prune(model, METHOD),
    ):
        model(**make_inputs(ROWS))
    assert Snapshot(model) == before
