"""`stsprune.check`: what it finds, and that it notices broken pruning."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest
import torch
from zoo import DEPTH, KITS, shared

import stsprune
from stsprune.checking import exactness
from stsprune.engine.bar import BAR
from stsprune.engine.families import family_of
from stsprune.errors import InvalidArgumentError, InvalidTypeError, UnsupportedModelError
from stsprune.method import STS, Plan

ROWS = [[3, "image", 5], [1, "image", 2], [4, "image", 9]]
METHOD = STS(0.3, layer=1, ratio=1.5, queries="all")


def inputs_of(family, model=None, rows=ROWS):
    model = model or shared(family)
    inputs = KITS[family].inputs(model, rows)
    return {k: v.to(model.dtype) if v.is_floating_point() else v for k, v in inputs.items()}


@pytest.mark.parametrize("family", ["LLaVA-NeXT-Video", "Qwen2-VL", "Qwen3-VL"])
def test_videos(family):
    inputs = inputs_of(family, rows=[[1, "image", 2, "video", 4], [2, "video", 6]])
    found = stsprune.check(shared(family), inputs, METHOD, rounds=1)
    assert found.ok, found.verdict
    assert len(found.prompts[0].visual_tokens) == 3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_judged_by_its_own_noise(dtype):
    model = KITS["LLaVA-1.5"].build().to(dtype)
    found = stsprune.check(model, inputs_of("LLaVA-1.5", model), METHOD, rounds=1)
    assert found.ok, found.verdict
    (one,) = found.prompts
    assert one.findings[0].bar > 10 * BAR
    assert "the unpruned model's own noise is" in found.verdict


def breaking(monkeypatch, damage):
    """Let `check` prune with a fault: hooks that come behind the engine's own."""
    real = stsprune.prune

    @contextmanager
    def broken(model, method, **options):
        with real(model, method, **options) as trace:
            layers = family_of(model).decoder(model).layers
            handles = damage(model, layers)
            try:
                yield trace
            finally:
                for handle in handles:
                    handle.remove()

    monkeypatch.setattr(exactness, "prune", broken)


def skipped_gather(model, layers):
    """Where a layer holds fewer tokens, its hidden states are the first ones, not the kept ones."""
    whole = {}

    def remember(module, args, out):
        whole["states"] = out if isinstance(out, torch.Tensor) else out[0]

    def skip(module, args, kwargs):
        hidden, before = args[0], whole.get("states", args[0])
        if hidden.shape[1] in (1, before.shape[1]):
            return None
        return (before[:, : hidden.shape[1]], *args[1:]), kwargs

    handles = [layer.register_forward_hook(remember) for layer in layers]
    handles += [layer.register_forward_pre_hook(skip, with_kwargs=True) for layer in layers[1:]]
    return handles


def compacted_positions(model, layers):
    """Every layer counts its tokens from 0 on, as if none were missing."""
    decoder = family_of(model).decoder(model)

    def compact(module, args, kwargs):
        hidden = args[0]
        if hidden.shape[1] == 1:
            return None
        own = torch.arange(hidden.shape[1]).expand(len(hidden), -1)
        if family_of(model).rotary_axes > 1:
            own = own.expand(3, -1, -1)
        return args, kwargs | {"position_embeddings": decoder.rotary_emb(hidden, own)}

    return [layer.register_forward_pre_hook(compact, with_kwargs=True) for layer in layers]


def wrong_mask(model, layers):
    """One layer sees what comes later, too."""

    def open_(module, args, kwargs):
        hidden = args[0]
        if hidden.shape[1] == 1:
            return None
        mask = hidden.new_zeros(len(hidden), 1, hidden.shape[1], hidden.shape[1])
        return args, kwargs | {"attention_mask": mask}

    return [layers[2].register_forward_pre_hook(open_, with_kwargs=True)]


DAMAGES = [skipped_gather, compacted_positions, wrong_mask]


class TestNegativeControls:
    @pytest.mark.parametrize("damage", DAMAGES)
    @pytest.mark.parametrize("family", ["LLaVA-1.5", "Qwen2-VL", "InternVL 3"])
    def test_float32(self, family, damage, monkeypatch):
        breaking(monkeypatch, damage)
        found = stsprune.check(shared(family), inputs_of(family), METHOD, rounds=1)
        assert not found.ok
        assert found.verdict.startswith("not exact: prompt 1 differs by")
        masked, by_hand, _ = found.prompts[0].findings
        assert min(masked.difference, by_hand.difference) > 100 * BAR

    @pytest.mark.parametrize("damage", DAMAGES)
    def test_half_precision(self, damage, monkeypatch):
        model = KITS["LLaVA-1.5"].build().to(torch.bfloat16)
        breaking(monkeypatch, damage)
        found = stsprune.check(model, inputs_of("LLaVA-1.5", model), METHOD, rounds=1)
        assert not found.ok

    def test_nan_is_a_failure(self, monkeypatch):
        def spoil(model, layers):
            return [layers[3].register_forward_hook(lambda module, args, out: out * torch.nan)]

        breaking(monkeypatch, spoil)
        found = stsprune.check(shared("LLaVA-1.5"), inputs_of("LLaVA-1.5"), METHOD, rounds=1)
        assert not found.ok

    def test_a_cache_of_another_size(self, monkeypatch):
        """Exact for what it kept, but it kept more than the method plans."""
        real = stsprune.prune
        other = STS(0.5, layer=1)
        monkeypatch.setattr(exactness, "prune", lambda model, method, **_: real(model, other))
        found = stsprune.check(shared("LLaVA-1.5"), inputs_of("LLaVA-1.5"), METHOD, rounds=1)
        assert not found.ok
        assert "KV cache holds" in found.verdict
        assert all(f.ok for f in found.prompts[0].findings[:2])


def test_result_is_an_issue_report():
    inputs = inputs_of("LLaVA-1.5")
    told = []
    found = stsprune.check(
        shared("LLaVA-1.5"), [inputs, inputs], METHOD, steps=3, rounds=2, advance=told.append
    )
    assert told == [1] * 4
    document = json.loads(json.dumps(found.as_dict()))
    assert document["ok"] is True
    assert document["steps"] == 3
    assert document["setting"]["layers"] == DEPTH
    assert document["machine"]["torch"] == torch.__version__
    assert document["first_token"]["pruned"]["runs"] == 4
    assert document["prompts"][0]["pruned_bytes"] < document["prompts"][0]["unpruned_bytes"]


def test_a_method_without_a_whole_budget():
    """Its plan does not follow the budget: that comparison is left out and says why."""

    class Stubborn(STS):
        def plan(self, tokens, depth):
            return Plan(tokens // 2)

    found = stsprune.check(shared("LLaVA-1.5"), inputs_of("LLaVA-1.5"), Stubborn(0.5), rounds=1)
    whole = found.prompts[0].findings[-1]
    assert found.ok
    assert whole.difference is None
    assert "Stubborn drops tokens at any budget" in whole.why


def test_an_oracle_that_does_not_apply(monkeypatch):
    def refuse(*_, **__):
        raise UnsupportedModelError("model must have attention layers only")

    monkeypatch.setitem(exactness.ORACLES, "the dropped tokens masked", refuse)
    found = stsprune.check(shared("LLaVA-1.5"), inputs_of("LLaVA-1.5"), METHOD, rounds=1)
    assert found.ok
    assert found.prompts[0].findings[0].difference is None
    monkeypatch.setitem(exactness.ORACLES, "layers called by hand", refuse)
    with pytest.raises(UnsupportedModelError, match="model must suit an oracle"):
        stsprune.check(shared("LLaVA-1.5"), inputs_of("LLaVA-1.5"), METHOD, rounds=1)


class TestBadInput:
    def test_nothing_is_dropped(self):
        with pytest.raises(InvalidArgumentError, match=r"budget must drop .*got 400 for 25, 25"):
            stsprune.check(shared("LLaVA-1.5"), inputs_of("LLaVA-1.5"), STS(400))

    def test_no_image(self):
        inputs = {"input_ids": torch.tensor([[1, 5, 6]])}
        with pytest.raises(InvalidArgumentError, match=r"inputs must hold an image"):
            stsprune.check(shared("LLaVA-1.5"), inputs, METHOD)

    @pytest.mark.parametrize("inputs", ["text", [{"pixel_values": 1}], [[1, 2]]])
    def test_no_inputs(self, inputs):
        with pytest.raises(InvalidTypeError, match="inputs must be what the processor gives"):
            stsprune.check(shared("LLaVA-1.5"), inputs, METHOD)

    def test_no_prompt(self):
        with pytest.raises(InvalidArgumentError, match="at least one prompt"):
            stsprune.check(shared("LLaVA-1.5"), [], METHOD)

    @pytest.mark.parametrize("name", ["steps", "rounds"])
    def test_counts(self, name):
        with pytest.raises(InvalidArgumentError, match=f"{name} must be an int >= 1, got 0"):
            stsprune.check(shared("LLaVA-1.5"), inputs_of("LLaVA-1.5"), METHOD, **{name: 0})

    def test_no_method(self):
        with pytest.raises(InvalidTypeError, match="method must be a Method"):
            stsprune.check(shared("LLaVA-1.5"), inputs_of("LLaVA-1.5"), 64)
