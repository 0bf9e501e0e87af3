"""Copies of a pruned KV cache, and what keeps a model alive."""

from __future__ import annotations

import copy
import gc
import io
import weakref

import pytest
import torch
from differences import differences
from tiny_llava import make_inputs, make_llava

import stsprune
from stsprune.engine import cache_bytes
from stsprune.engine.compat import CACHE
from stsprune.errors import UnsupportedModeError
from stsprune.method import STS

METHOD = STS(8, layer=1, ratio=1.6)
ROWS = [[3, "image", 5]]


def prefilled(model, inputs):
    out = model(**inputs, use_cache=True)
    return getattr(out, CACHE), out.logits[:, -1]


def follow(model, cache, first, tokens):
    logits = [first]
    for at in range(tokens.shape[1]):
        out = model(input_ids=tokens[:, at : at + 1], **{CACHE: cache})
        logits.append(out.logits[:, -1])
    return torch.stack(logits, 1)


def storages(value, seen):
    """Bytes of every tensor's storage below a value, each once."""
    if isinstance(value, torch.Tensor):
        storage = value.untyped_storage()
        fresh = storage.data_ptr() not in seen
        seen.add(storage.data_ptr())
        return storage.nbytes() if fresh else 0
    if isinstance(value, dict):
        return sum(storages(part, seen) for part in value.values())
    if isinstance(value, list | tuple):
        return sum(storages(part, seen) for part in value)
    if isinstance(value, weakref.ref) or not hasattr(value, "__dict__"):
        return 0
    return storages(vars(value), seen)


@pytest.mark.parametrize("where", ["inside", "outside"])
@torch.no_grad()
def test_a_copy_per_question_goes_on_as_the_original_would(any_llava, where):
    """The documented reuse of a prompt: prefill it once, copy the cache for every question."""
    inputs = make_inputs(ROWS)
    questions = [torch.randint(3, 60, (1, 4)) for _ in range(3)]
    with stsprune.prune(any_llava, METHOD) as trace:
        cache, first = prefilled(any_llava, inputs)
        copies = [copy.deepcopy(cache) for _ in questions]
        if where == "inside":
            got = [
                follow(any_llava, own, first, tokens)
                for own, tokens in zip(copies, questions, strict=True)
            ]
    if where == "outside":
        got = [
            follow(any_llava, own, first, tokens)
            for own, tokens in zip(copies, questions, strict=True)
        ]
    for logits, tokens in zip(got, questions, strict=True):
        assert max(differences(logits, any_llava, inputs, trace, tokens).values()) < 1e-4
    assert cache.get_seq_length() == inputs["input_ids"].shape[1]


@torch.no_grad()
def test_a_copy_takes_the_caches_own_bytes():
    model = make_llava()
    with stsprune.prune(model, METHOD):
        cache, _ = prefilled(model, make_inputs(ROWS))
        fresh = copy.deepcopy(cache)
    assert fresh.layers[0].keys.data_ptr() != cache.layers[0].keys.data_ptr()
    facts = {name: value for name, value in vars(fresh).items() if name != "home"}
    parameters = {parameter.data_ptr() for parameter in model.parameters()}
    seen = set()
    storages(facts, seen)
    assert not seen & parameters
    assert storages(facts["layers"], set()) <= 1.1 * cache_bytes(cache)


@pytest.mark.parametrize("save", [torch.save, lambda cache, file: copy.copy(cache)])
@torch.no_grad()
def test_saving_says_what_to_save_instead(llava, save):
    with stsprune.prune(llava, METHOD):
        cache, _ = prefilled(llava, make_inputs(ROWS))
    with pytest.raises(UnsupportedModeError, match=r"save the prompt \(input_ids"):
        save(cache, io.BytesIO())


@torch.no_grad()
def test_neither_cache_nor_trace_keeps_the_model():
    model = make_llava()
    with stsprune.prune(model, METHOD) as trace:
        cache, _ = prefilled(model, make_inputs(ROWS))
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
    assert cache.get_seq_length() > 0
    assert trace.images


@torch.no_grad()
def test_a_pass_outside_that_broke_off_leaves_the_next_one_right(any_llava):
    inputs, tokens = make_inputs([[3, "image", 5], [2, "image", 1]]), torch.full((2, 3), 7)
    with stsprune.prune(any_llava, METHOD) as trace:
        cache, first = prefilled(any_llava, inputs)
    layer = any_llava.get_decoder().layers[2]

    def fail(*_):
        raise KeyError("injected")

    handle = layer.register_forward_pre_hook(fail)
    fresh = copy.deepcopy(cache)
    mask = torch.cat([inputs["attention_mask"], torch.ones(2, 3, dtype=torch.int64)], 1)
    with pytest.raises(KeyError, match="injected"):
        any_llava(input_ids=tokens[:, :1], attention_mask=mask[:, :-2], **{CACHE: fresh})
    handle.remove()
    del fresh
    gc.collect()
    layers = any_llava.get_decoder().layers
    assert not any(layer._forward_pre_hooks for layer in layers)
    logits = [first]
    for at in range(3):
        width = inputs["input_ids"].shape[1] + at + 1
        given = {"input_ids": tokens[:, at : at + 1], "attention_mask": mask[:, :width]}
        logits.append(any_llava(**given, **{CACHE: cache}).logits[:, -1])
    got = torch.stack(logits, 1)
    assert max(differences(got, any_llava, inputs, trace, tokens).values()) < 1e-4
    assert not any(layer._forward_pre_hooks for layer in layers)
