"""generate() in its modes, and what happens to the model around it."""

from __future__ import annotations

import copy
import threading

import pytest
import torch
from releases import ENCODES_BEFORE_BEAMS
from snapshot import Snapshot
from tiny_llava import make_inputs, make_llava
from transformers import DynamicCache

import stsprune
from stsprune.engine.compat import CACHE
from stsprune.engine.reference import masked_logits
from stsprune.errors import (
    InvalidArgumentError,
    InvalidTypeError,
    NestedPruneError,
    UnsupportedModeError,
    UnsupportedModelError,
)
from stsprune.method import STS

METHOD = STS(8, layer=1, ratio=1.6)
RAGGED = [[3, "image", 5], [7], [2, "image", 1, "image", 3]]


def generate(model, inputs, **options):
    return model.generate(**inputs, **({"max_new_tokens": 6, "do_sample": False} | options))


@pytest.mark.parametrize("rows", [[[3, "image", 5]], RAGGED], ids=["one", "ragged"])
def test_greedy_is_the_argmax_of_the_reference(any_llava, rows):
    inputs = make_inputs(rows)
    with stsprune.prune(any_llava, METHOD) as trace:
        out = generate(any_llava, inputs)
    new = out[:, inputs["input_ids"].shape[1] :]
    logits = masked_logits(any_llava, inputs, trace, new[:, :-1])
    assert torch.equal(new, logits.argmax(-1))


def test_beams_score_as_the_reference_says(any_llava):
    inputs = make_inputs(RAGGED if ENCODES_BEFORE_BEAMS else [[3, "image", 5], [2, "image", 1]])
    with stsprune.prune(any_llava, METHOD) as trace:
        out = generate(
            any_llava,
            inputs,
            num_beams=3,
            num_return_sequences=2,
            length_penalty=0.0,
            return_dict_in_generate=True,
            output_scores=True,
        )
    # The trace has a copy of each image per beam; the reference wants one.
    trace.images = [image for image in trace.images if image.row % 3 == 0]
    for image in trace.images:
        image.row //= 3
    new = out.sequences[:, inputs["input_ids"].shape[1] :]
    for beam in range(2):
        tokens = new[beam::2]
        logits = masked_logits(any_llava, inputs, trace, tokens[:, :-1]).log_softmax(-1)
        score = logits.gather(-1, tokens[..., None]).sum((1, 2))
        assert (score - out.sequences_scores[beam::2]).abs().max() < 1e-3


def test_sampling_several_sequences(llava):
    inputs = make_inputs(RAGGED)
    with stsprune.prune(llava, METHOD):
        out = generate(llava, inputs, do_sample=True, num_return_sequences=3)
    assert out.shape == (9, inputs["input_ids"].shape[1] + 6)


def test_a_text_turn_on_a_kept_cache(any_llava):
    """Second turn: generate() feeds the new tokens only, and they see what was kept."""
    inputs, later = make_inputs([[3, "image", 5]]), torch.randint(3, 60, (1, 4))
    cache = DynamicCache()
    with stsprune.prune(any_llava, METHOD) as trace:
        first = generate(any_llava, inputs, **{CACHE: cache})
        kept = copy.deepcopy(trace)
        ids = torch.cat([first, later], 1)
        second = generate(
            any_llava,
            {"input_ids": ids, "attention_mask": torch.ones_like(ids)},
            **{CACHE: cache},
        )
    prompt = inputs["input_ids"].shape[1]
    logits = masked_logits(any_llava, inputs, kept, second[:, prompt:-1])
    assert torch.equal(second[:, ids.shape[1] :], logits.argmax(-1)[:, ids.shape[1] - prompt :])
    ids = torch.cat(
        [second, later], 1
    )  # the answer may hold the padding's id: a mask says it is real
    outside = generate(
        any_llava,
        {"input_ids": ids, "attention_mask": torch.ones_like(ids)},
        **{CACHE: cache},
    )
    logits = masked_logits(any_llava, inputs, kept, outside[:, prompt:-1])
    start = second.shape[1] + 4
    assert torch.equal(outside[:, start:], logits.argmax(-1)[:, start - prompt :])


def test_prompts_without_images_are_left_alone(llava):
    inputs = make_inputs([[9], [4]])
    with stsprune.prune(llava, METHOD) as trace:
        pruned = generate(llava, inputs)
    assert torch.equal(pruned, generate(llava, inputs))
    assert trace.images == []


def test_a_generated_image_token_is_not_an_image(llava):
    inputs = make_inputs([[3, "image", 5]])
    with torch.no_grad(), stsprune.prune(llava, METHOD) as trace:
        out = llava(**inputs)
        before = copy.deepcopy(trace)
        token = torch.tensor([[llava.config.image_token_id]])
        llava(input_ids=token, **{CACHE: getattr(out, CACHE)})
    assert len(before.images) == len(trace.images) == 1


class Fault(Exception):
    """Injected."""


def test_leaving_restores_the_model(llava):
    before = Snapshot(llava)
    with stsprune.prune(llava, METHOD):
        assert Snapshot(llava) != before
        generate(llava, make_inputs(RAGGED))
    assert Snapshot(llava) == before


@pytest.mark.parametrize("site", ["vision", "decoder", *range(6), "head", "select", "score"])
def test_a_fault_anywhere_restores_the_model_and_it_works_again(site, monkeypatch):
    model, inputs = make_llava(), make_inputs(RAGGED)
    before = Snapshot(model)
    modules = {
        "vision": model.model.vision_tower,
        "decoder": model.model.language_model,
        "head": model.lm_head,
    }

    def fail(*args, **kwargs):
        raise Fault

    handle = None
    if site in ("select", "score"):
        monkeypatch.setattr(STS, site, fail)
    else:
        target = modules[site] if site in modules else model.model.language_model.layers[site]
        handle = target.register_forward_hook(fail)
    with pytest.raises(Fault), stsprune.prune(model, METHOD):
        generate(model, inputs)
    if handle:
        handle.remove()
    monkeypatch.undo()
    assert Snapshot(model) == before
    with stsprune.prune(model, METHOD) as trace:
        out = generate(model, inputs)
    new = out[:, inputs["input_ids"].shape[1] :]
    assert torch.equal(new, masked_logits(model, inputs, trace, new[:, :-1]).argmax(-1))


def test_a_failed_prompt_leaves_the_callers_cache_empty(llava, monkeypatch):
    def fail(*args):
        raise Fault

    cache = DynamicCache()
    monkeypatch.setattr(STS, "select", fail)
    with pytest.raises(Fault), stsprune.prune(llava, METHOD):
        llava(**make_inputs([[3, "image", 5]]), **{CACHE: cache})
    assert type(cache) is DynamicCache
    assert cache.get_seq_length() == 0


def test_two_threads_two_models():
    outputs = {}
    models = {seed: make_llava(seed=seed) for seed in (1, 2)}

    def work(seed):
        model, inputs = models[seed], make_inputs(RAGGED, seed=seed)
        for _ in range(3):
            with stsprune.prune(model, METHOD) as trace:
                out = generate(model, inputs)
        new = out[:, inputs["input_ids"].shape[1] :]
        wanted = masked_logits(model, inputs, trace, new[:, :-1]).argmax(-1)
        outputs[seed] = torch.equal(new, wanted)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outputs == {1: True, 2: True}


class TestErrors:
    def test_nested(self, llava):
        before = Snapshot(llava)
        with (
            stsprune.prune(llava, METHOD),
            pytest.raises(NestedPruneError, match="already active"),
            stsprune.prune(llava, METHOD),
        ):
            pass
        assert Snapshot(llava) == before

    @pytest.mark.parametrize(
        ("model", "method", "kind", "match"),
        [
            ("llava", "sts", InvalidTypeError, "method must be"),
            ("text", METHOD, UnsupportedModelError, "`stsprune models` lists; got LlamaModel"),
            (None, METHOD, InvalidTypeError, "model must be"),
            ("llava", STS(8, layer=5), InvalidArgumentError, r"layer must be in 0\.\.4"),
            ("llava", STS(2, structure=False), InvalidArgumentError, "budget must be at least"),
        ],
    )
    def test_before_anything_is_touched(self, llava, model, method, kind, match):
        target = {"llava": llava, "text": llava.model.language_model}.get(model, model)
        before = Snapshot(llava)
        with pytest.raises(kind, match=match), stsprune.prune(target, method):
            pytest.fail("must not be entered")
        assert Snapshot(llava) == before

    def test_positions(self, llava):
        with (
            pytest.raises(InvalidArgumentError, match="positions must be one of"),
            stsprune.prune(llava, METHOD, positions="new"),
        ):
            pytest.fail("must not be entered")

    @pytest.mark.parametrize(
        "budget", [0, -1, 0.0, 1.5, float("nan"), float("inf"), True, "64", None]
    )
    def test_budget(self, budget):
        with pytest.raises((InvalidArgumentError, InvalidTypeError), match="budget must be"):
            STS(budget)

    @pytest.mark.parametrize(
        "options",
        [
            {"cache_implementation": "static"},
            {"cache_implementation": "quantized"},
            {"prompt_lookup_num_tokens": 2},
            {"use_cache": False},
            {"prefill_chunk_size": 8},
        ],
    )
    def test_generate_modes(self, llava, options):
        with (
            stsprune.prune(llava, METHOD),
            pytest.raises(UnsupportedModeError, match=next(iter(options))),
        ):
            generate(llava, make_inputs([[3, "image", 5]]), **options)

    def test_assisted(self, llava):
        with (
            stsprune.prune(llava, METHOD),
            pytest.raises(UnsupportedModeError, match="assistant_model"),
        ):
            generate(llava, make_inputs([[3, "image", 5]]), assistant_model=llava)

    @pytest.mark.parametrize(
        ("change", "kind", "match"),
        [
            ({"labels": True}, UnsupportedModeError, "labels must be None"),
            ({"inputs_embeds": True}, UnsupportedModeError, "input_ids must be given"),
            ({"right": True}, UnsupportedModeError, "pad on the left"),
            ({"cut": True}, InvalidArgumentError, "truncated"),
            ({"end": True}, UnsupportedModeError, "text after the image"),
            ({"static": True}, UnsupportedModeError, "StaticCache"),
            ({"used": True}, UnsupportedModeError, f"{CACHE} holds 4 tokens"),
            ({"chunk": True}, UnsupportedModeError, "chunked prefill"),
        ],
    )
    def test_forward(self, llava, change, kind, match):
        from transformers import StaticCache

        inputs = make_inputs([[3, "image"]] if "end" in change else [[3, "image", 5]])
        if "labels" in change:
            inputs["labels"] = inputs["input_ids"]
        if "inputs_embeds" in change:
            ids = inputs.pop("input_ids")
            inputs["inputs_embeds"] = llava.get_input_embeddings()(ids)
        if "right" in change:
            inputs["attention_mask"][:, -2:] = 0
        if "cut" in change:
            for key in ("input_ids", "attention_mask"):
                inputs[key] = inputs[key][:, 6:]
        if "static" in change:
            inputs[CACHE] = StaticCache(llava.config, max_cache_len=64)
        if "used" in change:
            inputs[CACHE] = getattr(llava(**make_inputs([[4]])), CACHE)
        if "chunk" in change:
            inputs["attention_mask"] = torch.ones(1, 50, dtype=torch.long)
        before = Snapshot(llava)
        with pytest.raises(kind, match=match), stsprune.prune(llava, METHOD):
            llava(**inputs)
        assert Snapshot(llava) == before

    def test_training(self):
        model = make_llava().train()
        with pytest.raises(UnsupportedModeError, match="eval"), stsprune.prune(model, METHOD):
            pytest.fail("must not be entered")

    def test_compiled(self, llava):
        with (
            pytest.raises(UnsupportedModelError, match="compiled"),
            stsprune.prune(torch.compile(llava), METHOD),
        ):
            pytest.fail("must not be entered")

    def test_crop_into_the_prompt(self, llava):
        with torch.no_grad(), stsprune.prune(llava, METHOD):
            cache = getattr(llava(**make_inputs([[3, "image", 5]])), CACHE)
        with pytest.raises(InvalidArgumentError, match="crop must remove at most the 0"):
            cache.crop(-1)

    def test_padded_later_turn_outside(self, llava):
        with torch.no_grad(), stsprune.prune(llava, METHOD):
            cache = getattr(llava(**make_inputs(RAGGED)), CACHE)
        with pytest.raises(UnsupportedModeError, match="inside `with"):
            llava(input_ids=torch.ones(3, 4, dtype=torch.long), **{CACHE: cache})
