"""The floor, the unpruned model and the methods: what is timed is what the theory says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from zoo import KITS, shared

import stsprune
from stsprune.bench import geometry, prompt
from stsprune.bench.ceiling import Ceiling, least_time, least_times
from stsprune.bench.contest import (
    FLOOR,
    LIMIT,
    UNPRUNED,
    Contestant,
    Workload,
    make_method,
)
from stsprune.bench.timing import events
from stsprune.engine.families import family_of
from stsprune.errors import InvalidArgumentError, UnsupportedModelError

#: name -> (billions of weights, visual tokens), as published
REAL = {
    "llava-1.5-7b": (7.06, 576),
    "llava-1.5-13b": (13.35, 576),
    "llava-next-7b": (7.06, 2880),
    "qwen2.5-vl-7b": (8.29, 1296),
    "qwen3-vl-8b": (8.77, 1296),
}


@pytest.fixture(scope="module")
def tiny():
    return geometry.build(geometry.find("geometry:tiny"), "cpu", torch.float32)


@pytest.mark.parametrize("name", REAL)
def test_real_geometries(name, monkeypatch):
    model = geometry.skeleton(geometry.find(name))
    billions, tokens = REAL[name]
    weights = sum(parameter.numel() for parameter in model.parameters())
    assert weights / 1e9 == pytest.approx(billions, abs=0.01)
    # On the meta device there is nothing to read; the picture's shape needs values.
    monkeypatch.setattr(type(model), "device", torch.device("cpu"))
    assert prompt.shape_of(model, prompt.picture(model, 1)).tokens == tokens
    assert max(geometry.find(name).budgets) < tokens


def test_an_unknown_geometry():
    with pytest.raises(InvalidArgumentError, match=r"geometry:llava-1\.5-7b.*got 'geometry:huge'"):
        geometry.find("geometry:huge")


def test_a_model_that_does_not_fit(monkeypatch):
    monkeypatch.setattr(geometry, "free_memory", lambda device: 8_000_000_000)
    with pytest.raises(InvalidArgumentError, match=r"16\.2 GB needed on cpu .* 8\.0 GB free"):
        geometry.build(geometry.find("llava-1.5-7b"), "cpu", torch.bfloat16)


def test_rotary_frequencies_are_the_real_ones(tiny):
    import transformers

    real = transformers.LlavaForConditionalGeneration(geometry.find("tiny").config())
    buffers = dict(real.named_buffers())
    assert buffers
    for name, value in tiny.named_buffers():
        assert torch.equal(value, buffers[name]), name


@pytest.mark.parametrize("family", ["LLaVA-1.5", "LLaVA-NeXT", "Qwen2.5-VL", "Qwen3-VL"])
@torch.inference_mode()
def test_floor_and_methods_in_every_family(family, monkeypatch):
    monkeypatch.setattr(prompt, "PATCHES", 12)
    model = shared(family)
    workload = Workload.of(model, 2, 3)
    budget = workload.tokens // 4
    before = dict(model.model.__dict__)
    rows = {}
    contestants = {UNPRUNED: None, FLOOR: None, LIMIT: None, "sts": stsprune.STS(budget)}
    for name, method in contestants.items():
        contestant = Contestant(name, workload, budget, method)
        contestant.warm()
        rows[name] = contestant.run()
        assert rows[name]["kv_bytes"] == 2 * contestant.facts()["kv_bytes"]
        assert rows[name]["total"] > rows[name]["ttft"] > 0
    assert rows[FLOOR]["kv_bytes"] == pytest.approx(rows["sts"]["kv_bytes"], rel=0.03)
    assert rows[FLOOR]["kv_bytes"] == rows[LIMIT]["kv_bytes"] < rows[UNPRUNED]["kv_bytes"]
    assert rows["sts"]["select"] > 0
    assert rows["sts"]["score"] > 0
    changed = {key for key, value in model.model.__dict__.items() if value is not before.get(key)}
    assert changed <= {"rope_deltas"}


@torch.inference_mode()
def test_the_floor_is_the_model_given_fewer_tokens(tiny):
    workload = Workload.of(tiny, 1, 2)
    floor = Contestant(FLOOR, workload, 12)
    with floor.context():
        pruned = tiny(**floor.inputs).logits
    features = tiny.model.get_image_features(**workload.tensors).pooler_output
    embeds = tiny.get_input_embeddings()(floor.inputs["input_ids"])
    embeds[:, prompt.BEFORE : prompt.BEFORE + 12] = features[0][:12]
    assert torch.equal(pruned, tiny(inputs_embeds=embeds).logits)


@pytest.mark.parametrize("name", [UNPRUNED, FLOOR])
@torch.inference_mode()
def test_flops_are_those_counted(tiny, name):
    contestant = Contestant(name, Workload.of(tiny, 1, 2), 8)
    tiny.set_attn_implementation("eager")
    try:
        with contestant.context(), FlopCounterMode(display=False) as counter:
            tiny(**contestant.inputs, use_cache=True, logits_to_keep=1)
    finally:
        tiny.set_attn_implementation("sdpa")
    counts = counter.get_flop_counts()
    parts = (
        "LlavaForConditionalGeneration.model.language_model",
        "LlavaForConditionalGeneration.lm_head",
    )
    counted = sum(sum(counts[part].values()) for part in parts)
    assert contestant.facts()["flops"] == counted


@torch.inference_mode()
def test_merging_is_timed_with_its_stage(tiny):
    workload = Workload.of(tiny, 1, 2)
    merging = Contestant("visionzip", workload, 12, stsprune.methods()["visionzip"](12))
    merging.warm()
    assert len(merging.recorded.merges) == 1
    merging.recorded.merges.append((None, None, merging.recorded.selections[0][0]))
    with pytest.raises(AttributeError):  # it is called, with what was noted
        merging.parts()


def test_other_families_are_refused():
    with pytest.raises(UnsupportedModelError, match="to be timed, got InternVLForConditional"):
        Workload.of(KITS["InternVL 3"].build(), 1, 2)


def test_the_ceiling_takes_the_slower_of_compute_and_memory(tiny):
    config = family_of(tiny).decoder(tiny).config
    lengths = [80] * config.num_hidden_layers
    weights = config.num_hidden_layers * 4 * (64 * 64 + 64 * 128) - 6 * 64 * 128
    weights += 64 * config.vocab_size
    time, bound = least_time(config, lengths, 1, 4, Ceiling(flops=1e30, bytes=1e9))
    assert (time, bound) == (pytest.approx(1000 * weights * 4 / 1e9), "memory")
    once, bound = least_time(config, lengths, 1, 4, Ceiling(flops=1e9, bytes=1e30))
    assert bound == "compute"
    assert least_time(config, lengths, 8, 4, Ceiling(1e9, 1e30))[0] == pytest.approx(8 * once)
    rows = least_times(tiny, [18, 8], [1], Ceiling(1e9, 1e30))
    assert [row["tokens"] for row in rows] == [36, 18, 8]
    assert rows[0]["least"] == pytest.approx(once)
    assert rows[0]["least"] > rows[1]["least"] > rows[2]["least"]


@torch.inference_mode()
def test_peak_memory_is_the_weights_and_the_rise(tiny, monkeypatch):
    """What other contestants noted lies in memory before and does not count."""
    for name, value in {
        "synchronize": None,
        "reset_peak_memory_stats": None,
        "memory_allocated": 100,
        "max_memory_allocated": 150,
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    workload = replace(Workload.of(tiny, 1, 2), device="cuda")
    row = Contestant(UNPRUNED, workload, workload.tokens).run()
    assert row["peak_bytes"] == geometry.weight_bytes(tiny) + 50


def test_a_gpu_is_timed_by_its_own_events(monkeypatch):
    marks = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            marks.append(self)

        def elapsed_time(self, end):
            assert marks == [self, "run", end]
            return 0.25

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *_: None)
    assert events(lambda: marks.append("run"), "cuda") == 0.25


@pytest.mark.parametrize("layer", [None, 0, 1])
@pytest.mark.parametrize("family", ["LLaVA-1.5", "Qwen2-VL", "Qwen2.5-VL", "Qwen3-VL"])
@torch.inference_mode()
def test_encoder_flops_are_those_counted(family, layer, monkeypatch):
    monkeypatch.setattr(prompt, "PATCHES", 12)
    model = shared(family, "eager")
    workload = Workload.of(model, 2, 2)
    method = None
    if layer is not None:  # a choice without products of its own
        stage = {"layer": layer, "share": 0.4, "choice": "random"}
        method = stsprune.STS(0.2, encoder=stage)
    contestant = Contestant(UNPRUNED if method is None else "sts", workload, 9, method)
    contestant.warm()
    inner = family_of(model).inner(model)
    with contestant.context(), FlopCounterMode(display=False) as counter:
        inner.get_image_features(**workload.tensors)
    assert 2 * contestant.facts()["encoder_flops"] == counter.get_total_flops()


@pytest.mark.parametrize(
    ("small", "large"), [("qwen-mini", "qwen2.5-vl-7b"), ("llava-mini-tower", "llava-1.5-7b")]
)
@torch.inference_mode()
def test_small_geometries_have_the_proportion_of_the_large_ones(small, large, monkeypatch):
    shares = []
    for name in (small, large):
        model = geometry.skeleton(geometry.find(name))
        monkeypatch.setattr(type(model), "device", torch.device("cpu"))
        facts = Contestant(UNPRUNED, Workload.of(model, 1, 2), 1).facts()
        shares.append(facts["encoder_flops"] / facts["flops"])
    assert shares[0] == pytest.approx(shares[1], rel=0.05)


def test_a_stage_inside_the_encoder_by_name():
    assert make_method("divprune+encoder", 9, {}).encoder == stsprune.EncoderStage()
    assert make_method("divprune", 9, {}).encoder is None
    with pytest.raises(InvalidArgumentError, match="methods must be of"):
        make_method("best+encoder", 9, {})
