"""The theory against the clockwork: FLOPs and cache bytes are exact; no gain is foreseen."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from zoo import DEPTH, KITS, shared

import stsprune
from stsprune.engine import cache_bytes
from stsprune.engine.compat import CACHE
from stsprune.engine.costs import kv_cache_bytes, layer_flops, prefill_flops
from stsprune.engine.families import family_of
from stsprune.engine.gain import expected_share, prefill_time
from stsprune.errors import InvalidTypeError, NoGainWarning
from stsprune.method.base import tokens_per_layer

FAMILIES = ["LLaVA-1.5", "LLaVA-NeXT", "Qwen2.5-VL", "Qwen3-VL", "InternVL 3"]


def lengths_of(inputs, trace, method):
    """Tokens per layer and row, from the plan alone."""
    rows = [[int(n)] * DEPTH for n in inputs["attention_mask"].sum(1)]
    for image in trace.images:
        held = tokens_per_layer(method.plan(image.tokens, DEPTH), image.tokens, DEPTH)
        row = rows[image.row]
        row[:] = [n - image.tokens + kept for n, kept in zip(row, held, strict=True)]
    return rows


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("budget", [0.25, 0.5])
@torch.no_grad()
def test_cache_bytes_are_the_theoretical_ones(family, budget):
    model, method = shared(family), stsprune.STS(budget)
    inputs = KITS[family].inputs(model, [[3, "image", 5]])
    with stsprune.prune(model, method) as trace:
        cache = getattr(model(**inputs, use_cache=True), CACHE)
    plan = method.plan(trace.images[0].tokens, DEPTH)
    assert plan.structure is not None
    assert len(plan.semantics) == 3
    lengths = lengths_of(inputs, trace, method)[0]
    assert len(set(lengths)) == 4
    config = family_of(model).decoder(model).config
    assert cache_bytes(cache) == kv_cache_bytes(config, lengths, 4)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pruned", [False, True])
@torch.no_grad()
def test_flops_are_those_counted(family, pruned):
    model, method = shared(family, "eager"), stsprune.STS(0.25 if pruned else 1.0)
    inputs = KITS[family].inputs(model, [[3, "image", 5]])
    decoder = family_of(model).decoder(model)
    with stsprune.prune(model, method) as trace, FlopCounterMode(display=False) as counter:
        model(**inputs, use_cache=True, logits_to_keep=1)
    rows = lengths_of(inputs, trace, method)
    counts = counter.get_flop_counts()
    owner = next(name for name, module in model.named_modules() if module is decoder)
    names = [name for name in counts if name.endswith(f".{owner}.layers.{DEPTH - 1}.mlp")]
    assert names  # the counter saw the decoder
    prefix = names[0].removesuffix(f"{DEPTH - 1}.mlp")
    counted = 0
    for layer in range(DEPTH):
        counted += sum(counts[f"{prefix}{layer}.mlp"].values())
        operations = counts[f"{prefix}{layer}.self_attn"]
        counted += sum(operations.values())
    counted += sum(counts[next(n for n in counts if n.endswith(".lm_head"))].values())
    planned = prefill_flops(decoder.config, rows[0])
    if pruned:  # stage 2's own product of the text behind the image with what is still there
        plan = method.plan(trace.images[0].tokens, DEPTH)
        held = tokens_per_layer(plan, trace.images[0].tokens, DEPTH)
        config = decoder.config
        width = config.hidden_size // config.num_attention_heads
        marks = inputs["input_ids"][0] == family_of(model).token_ids(model)["image"]
        text = len(marks) - 1 - int(marks.nonzero().max())
        product = 2 * config.num_attention_heads * width * text
        assert counted - planned == sum(product * held[layer] for layer, _ in plan.semantics)
    else:
        assert counted == planned


def test_no_gain_where_reading_the_weights_takes_the_time():
    config = KITS["LLaVA-1.5"].config().text_config
    long, short = [[4000] * DEPTH], [[1000] * DEPTH]
    assert expected_share(config, long, short, 0, 2, 1.0) < 0.25
    assert expected_share(config, [[64] * DEPTH], [[16] * DEPTH], 0, 2, 295.0) == 1.0
    assert expected_share(config, [[64] * DEPTH], [[16] * DEPTH], 10**9, 2, 295.0) > 1.0
    assert prefill_time(config, long, 2, 1.0) == DEPTH * layer_flops(config, 4000)


@torch.no_grad()
def test_warning_of_no_gain():
    model = shared("LLaVA-1.5")
    inputs = KITS["LLaVA-1.5"].inputs(model, [[3, "image", 5]])

    def run(budget, **options):
        with stsprune.prune(model, stsprune.STS(budget), **options):
            model(**inputs)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(0.2, warn_no_gain=True)  # 33 tokens on a CPU: compute counts
        run(1.0)  # nothing is pruned, nobody asked
    with pytest.warns(NoGainWarning, match=r"STS\(budget=1.0\) is expected to take 100 %"):
        run(1.0, warn_no_gain=True)
    with pytest.raises(InvalidTypeError, match="warn_no_gain must be True or False, got 1"):
        run(0.5, warn_no_gain=1)


class NoWaiting(TorchDispatchMode):
    """Fails at operations for which the host must wait for a GPU."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "repeat_interleave")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.__name__.split(".")[0]
        if any(name.startswith(one) for one in self.WAITING):
            raise AssertionError(f"{name} waits for the device")
        if name in ("index", "index_put", "index_put_") and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        ):
            raise AssertionError(f"{name} by a mask waits for the device")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("queries", ["peak", "last", "all"])
@torch.no_grad()
def test_the_host_waits_for_nothing_behind_the_prompts_entry(queries, monkeypatch):
    """From the decoder's entry to the last layer, structure and semantics included."""
    from stsprune.engine.passes import prefill
    from stsprune.method import sts

    # On the CPU values are checked, which reads them; a GPU takes this path.
    monkeypatch.setattr(sts, "repulsion", sts.sample)
    # The CPU's blocks look at the norms; a GPU multiplies as a whole.
    monkeypatch.setattr("stsprune.selection.distance.SPLIT", 10**9)
    model = shared("LLaVA-1.5")
    inputs = KITS["LLaVA-1.5"].inputs(model, [["image", 5]])
    decoder, mode = model.get_decoder(), NoWaiting()
    entered = []
    original = prefill.Prefill.enter

    def enter(*args, **kwargs):
        mode.__enter__()
        entered.append(True)
        return original(*args, **kwargs)

    monkeypatch.setattr(prefill.Prefill, "enter", enter)
    handle = decoder.register_forward_hook(lambda *_: mode.__exit__(None, None, None))
    try:
        with stsprune.prune(model, stsprune.STS(0.25, queries=queries)) as trace:
            model(**inputs, use_cache=True)
    finally:
        handle.remove()
    assert entered
    assert len(trace.images[0].stages) == 4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@torch.no_grad()
def test_no_synchronisation_on_a_gpu(monkeypatch):
    from stsprune.engine.passes import prefill

    model = KITS["LLaVA-1.5"].build().cuda()
    inputs = KITS["LLaVA-1.5"].inputs(model, [["image", 5]])
    inputs = {name: value.cuda() for name, value in inputs.items()}
    original = prefill.Prefill.enter

    def enter(*args, **kwargs):
        torch.cuda.set_sync_debug_mode("error")
        return original(*args, **kwargs)

    monkeypatch.setattr(prefill.Prefill, "enter", enter)

    def leave(*_):
        torch.cuda.set_sync_debug_mode("default")

    handle = model.get_decoder().register_forward_hook(leave)
    try:
        with stsprune.prune(model, stsprune.STS(0.25)) as trace:
            model(**inputs, use_cache=True)
    finally:
        leave()
        handle.remove()
    assert len(trace.images[0].stages) == 4


@torch.no_grad()
def test_decode_steps_leave_the_layers_alone():
    """Without padding and windows a step brings every layer what it would get unpruned."""
    model = shared("LLaVA-1.5")
    inputs = KITS["LLaVA-1.5"].inputs(model, [["image", 5]])
    seen = []
    handles = [
        layer.register_forward_pre_hook(
            lambda module, args, kwargs: seen.append(kwargs["attention_mask"]), with_kwargs=True
        )
        for layer in model.get_decoder().layers
    ]
    try:
        with stsprune.prune(model, stsprune.STS(0.25)):
            cache = getattr(model(**inputs, use_cache=True), CACHE)
            seen.clear()
            model(input_ids=torch.tensor([[5]]), **{CACHE: cache})
    finally:
        for handle in handles:
            handle.remove()
    assert seen == [None] * DEPTH
    assert cache.running is None


@pytest.mark.parametrize("family", ["LLaVA-1.5", "Gemma 3"])
@torch.no_grad()
def test_the_host_waits_for_nothing_inside_the_encoder(family, monkeypatch):
    monkeypatch.setattr("stsprune.selection.distance.SPLIT", 10**9)
    model = shared(family)
    pixels = KITS[family].inputs(model, [["image", 5]])["pixel_values"]
    method = stsprune.STS(0.2, encoder=stsprune.EncoderStage(layer=1, share=0.6))
    with stsprune.prune(model, method), NoWaiting():
        model.model.get_image_features(pixel_values=pixels)
