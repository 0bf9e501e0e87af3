"""Any prompt, any budget, every family: exact or a documented error, and nothing left behind."""

from __future__ import annotations

import copy
import itertools
import os
import threading

import pytest
import torch
from differences import differences, judged
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from kit import head_of
from snapshot import Snapshot
from test_families import TOLERANCE, forget, run_pruned, run_unpruned
from zoo import DEPTH, KITS, NEWER, WORDS, shared

import stsprune
from stsprune.engine.families import family_of
from stsprune.engine.mixers import scoring_layers
from stsprune.errors import StsPruneError
from stsprune.method import STS

#: The matrix of releases (tests/matrix.py) asks for fewer; so do newer families.
EXAMPLES = int(os.environ.get("STSPRUNE_EXAMPLES", "300"))
OF_NEWER = min(EXAMPLES, 100)
#: Unpruned too, their cached run of a row that is all padding differs from the uncached one.
NO_EMPTY_ROWS = ("Qwen2.5-Omni", "Qwen3-Omni")


def rows(parts):
    row = st.lists(st.sampled_from([*parts, 1, 2, 5]), max_size=4)
    ending = st.sampled_from([[2], [2], [2], []])
    return st.lists(st.builds(lambda a, b: [*a, *b], row, ending), min_size=1, max_size=3)


@pytest.mark.parametrize("family", KITS)
def test_random_prompts(family):
    kit, model = KITS[family], shared(family)
    parts = ["image"] if kit.video is None else ["image", "video"]
    before, scoring = Snapshot(model), scoring_layers(family_of(model).decoder(model))
    outcomes = {"exact": 0, "refused": 0}

    examples = OF_NEWER if kit.lean or family in NEWER else EXAMPLES

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        prompt=rows(parts),
        budget=st.one_of(st.integers(1, 40), st.floats(0.02, 1)),
        layer=st.integers(0, DEPTH - 2),
        ratio=st.floats(1, 3),
        queries=st.sampled_from(["last", "all"]),
        stages=st.sampled_from([(True, True), (True, True), (True, False), (False, True)]),
        seed=st.integers(0, 99),
    )
    def check(prompt, budget, layer, ratio, queries, stages, seed):
        assume(family not in NO_EMPTY_ROWS or all(prompt))
        structure, semantics = stages
        inputs = kit.inputs(model, prompt, seed)
        random = torch.Generator().manual_seed(seed)
        continuation = torch.randint(WORDS.start, WORDS.stop, (len(prompt), 2), generator=random)
        method = STS(
            budget,
            layer=layer,
            ratio=ratio,
            queries=queries,
            structure=structure,
            semantics=semantics,
        )
        refused = None
        try:
            got, trace, *_ = run_pruned(model, method, inputs, continuation, seed % 2 == 0)
        except StsPruneError as error:
            refused = str(error)
        shown = sum(isinstance(part, str) for row in prompt for part in row)
        if seed % 2 == 0:  # outside, the cache tells the model its offset
            forget(model)
        assert Snapshot(model) == before
        if refused is not None:
            assert refusal_is_right(refused, prompt, semantics)
            outcomes["refused"] += 1
            return
        assert not got.isnan().any()
        if shown:
            assert len(trace.images) == shown
        for image in trace.images:
            if isinstance(budget, int) and budget >= image.tokens:
                assert not image.stages
            plan = method.plan_on(image.tokens, DEPTH, scoring)
            counts = [plan.structure, *dict(plan.semantics).values()]
            assert [len(stage.kept) for stage in image.stages] == [c for c in counts if c]
            for stage in image.stages:
                assert torch.equal(stage.kept, stage.kept.unique())
                assert int(stage.kept[0]) >= 0
                assert int(stage.kept[-1]) < image.tokens
            kept = [set(stage.kept.tolist()) for stage in image.stages]
            assert all(late <= early for early, late in itertools.pairwise(kept))
        if shown:
            name = f"{family}, random prompts"
            largest = judged(name, got, model, inputs, trace, continuation)
            if largest >= TOLERANCE:  # rounding, if it goes in double precision
                assert largest < 10 * TOLERANCE
                assert in_double(model, method, inputs, continuation) < 1e-9
        else:
            wanted = run_unpruned(model, inputs, continuation)
            assert (got - wanted).abs().max() < TOLERANCE
        outcomes["exact"] += 1

    check()
    assert outcomes["exact"] > (examples / 2 if examples >= 50 else 0), outcomes


def in_double(model, method, inputs, continuation):
    """The largest difference to the oracles of the same prompt and model in float64."""
    double = copy.deepcopy(model).double()
    inputs = {
        name: value.double() if torch.is_tensor(value) and value.is_floating_point() else value
        for name, value in inputs.items()
    }
    got, trace, *_ = run_pruned(double, method, inputs, continuation)
    return max(differences(got, double, inputs, trace, continuation).values())


@pytest.mark.parametrize("queries", ["last", "all"])
def test_a_difference_of_rounding_goes_in_double_precision(queries):
    """The largest that was ever found in float32: 1.1e-4, by chance."""
    kit, model = KITS["SmolVLM"], shared("SmolVLM")
    prompt = [["image", 5, 5, 5, 2], ["image", 1, 5, "image", 2]]
    inputs, method = kit.inputs(model, prompt, 0), STS(1, layer=0, ratio=1, queries=queries)
    continuation = torch.tensor([[5, 7], [6, 5]])
    assert in_double(model, method, inputs, continuation) < 1e-9


def refusal_is_right(text, prompt, semantics):
    """The documented reasons: the budget is out of reach, or the filter has no text to read."""
    if "must not end with it" in text:
        pictures = [row for row in prompt if any(isinstance(part, str) for part in row)]
        return semantics and any(isinstance(row[-1], str) for row in pictures)
    return "budget must be at least" in text


TOWERS = (
    "vision_tower",
    "visual",
    "vision_model",
    "vision_encoder",
    "vision_embed_tokens",
    "image_tower",
    "embed_vision",
    "quant_conv",
)


class Fault(Exception):
    """Injected."""


@pytest.mark.parametrize("family", KITS)
def test_a_fault_anywhere_restores_the_model(family, monkeypatch):
    kit, model = KITS[family], shared(family)
    inputs = kit.inputs(model, [[3, "image", 5], [7], [2, "image", 1, "image", 3]])
    method = STS(0.3, layer=1, ratio=1.5)
    before = Snapshot(model)
    decoder = family_of(model).decoder(model)
    tower = next(
        module for name, module in model.named_modules() if name.rsplit(".", 1)[-1] in TOWERS
    )

    def fail(*args, **kwargs):
        raise Fault

    layers = (decoder.layers[at] for at in (0, DEPTH // 2, DEPTH - 1))
    for module in (tower, decoder, *layers, head_of(model)):
        for calls in (0, 1):  # in the prompt's pass, or in a later one
            seen = itertools.count()

            def later(*args, seen=seen, calls=calls):
                if next(seen) == calls:
                    raise Fault

            handle = module.register_forward_hook(later)
            try:
                with stsprune.prune(model, method):
                    model.generate(**inputs, max_new_tokens=3, do_sample=False)
                assert module is tower  # is called once only
            except Fault:
                pass
            handle.remove()
            assert Snapshot(model) == before
    for stage in ("plan", "select", "score"):
        with monkeypatch.context() as patch:
            patch.setattr(STS, stage, fail)
            with pytest.raises(Fault), stsprune.prune(model, method):
                model.generate(**inputs, max_new_tokens=3)
        assert Snapshot(model) == before
    continuation = torch.full((3, 2), 5)
    got, trace, *_ = run_pruned(model, method, inputs, continuation)
    assert max(differences(got, model, inputs, trace, continuation).values()) < TOLERANCE


def test_two_threads_two_models():
    names = ["Qwen3-VL", "LLaVA-NeXT"]
    worst = {}

    def work(name):
        kit, model = KITS[name], shared(name)
        inputs = kit.inputs(model, [[3, "image", 5], [2, "image", 1, "image", 3]])
        continuation = torch.full((2, 4), 5)
        worst[name] = 0.0
        for layer in range(4):
            method = STS(0.3, layer=layer, ratio=1.3)
            got, trace, *_ = run_pruned(model, method, inputs, continuation)
            seen = differences(got, model, inputs, trace, continuation)
            worst[name] = max(worst[name], *seen.values())

    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(worst) == set(names)
    assert max(worst.values()) < TOLERANCE


@pytest.mark.parametrize("family", ["LLaVA-1.5", "Qwen2.5-VL", "LLaVA-NeXT"])
def test_a_budget_over_all_images(family):
    kit, model = KITS[family], shared(family)
    inputs = kit.inputs(model, [[1, "image", 2, "image", 1, "image", 4], [3, "image", 2]])
    continuation = torch.full((2, 3), 5)
    method = STS(1, semantics=False)
    got, trace, *_ = run_pruned(model, method, inputs, continuation, budget_total=12)
    assert max(differences(got, model, inputs, trace, continuation).values()) < TOLERANCE
    kept = [len(image.stages[-1].kept) if image.stages else image.tokens for image in trace.images]
    assert sum(kept[:3]) == 12
    assert kept[3] == min(12, trace.images[3].tokens)
    assert min(kept) >= 1
    with_filter = STS(1, layer=1, ratio=1.5)
    got, trace, *_ = run_pruned(model, with_filter, inputs, continuation, budget_total=18)
    assert max(differences(got, model, inputs, trace, continuation).values()) < TOLERANCE


def test_plain_images_get_fewer_tokens():
    kit, model = KITS["LLaVA-1.5"], shared("LLaVA-1.5")
    inputs = kit.inputs(model, [["image", 2, "image", 4]])
    inputs["pixel_values"][0] = 0.5  # one colour
    with torch.no_grad(), stsprune.prune(model, STS(1, semantics=False), budget_total=16) as trace:
        model(**inputs)
    plain, rich = (len(image.stages[0].kept) for image in trace.images)
    assert plain + rich == 16
    assert plain < rich
