"""Every family, every kind of prompt: both oracles agree with what pruning computes.

A new adapter joins by its `Kit` in tests/zoo.py.
"""

from __future__ import annotations

import copy
import inspect
import os
from dataclasses import dataclass

import pytest
import torch
import transformers
from differences import differences, judged, oracles
from releases import (
    BROKEN,
    ENCODES_BEFORE_BEAMS,
    need_repeated_grids,
    need_repeated_pictures,
    need_todays_beams,
)
from transformers.cache_utils import DynamicCache
from zoo import DEPTH, KITS, VOCABULARY, WORDS, shared

import stsprune
from stsprune.engine.cache import has_keys
from stsprune.engine.compat import CACHE, older_than
from stsprune.engine.families import FAMILIES, family_of
from stsprune.method import STS, Plan

TOLERANCE = 1e-4
#: Whether tests/matrix.py runs every release, and so less of each.
FEW = "STSPRUNE_EXAMPLES" in os.environ
STEPS = 5 if FEW else 8  # decoded tokens
PROMPTS = {
    "one image": [["image", 5]],
    "left padding": [[3, "image", 5], [1, "image", 2], [4, "image", 9]],
    "two images": [[2, "image", 3, "image", 4]],
    "a row without image": [[3, "image", 5], [7], [2, "image", 1, "image", 3]],
    "video": [[3, "video", 4], [2, "video", 6]],
    "video and image": [[1, "image", 2, "video", 4], [2, "video", 6]],
}


@dataclass(frozen=True)
class Ladder(STS):
    """Structure, then two semantic layers."""

    def plan_on(self, tokens, depth, scoring):
        first, second, third = (max(1, int(share * tokens)) for share in (0.6, 0.4, 0.2))
        late = next(layer for layer in scoring if layer >= 2)
        return Plan(first, ((scoring[0], second), (late, third)))


METHODS = {
    "structure": STS(0.4, semantics=False),
    "semantics": STS(0.6, structure=False, layer=1),
    "both": STS(0.3, layer=1, ratio=1.5, queries="all"),
    "several semantic layers": Ladder(0.5),
}


def forced(rows, seed=7):
    random = torch.Generator().manual_seed(seed)
    return torch.randint(WORDS.start, WORDS.stop, (rows, STEPS), generator=random)


def decode(model, inputs, continuation, cache, logits):
    """Force the continuation token by token, as a manual loop does: logits [B, 1 + steps, V].

    Three-axis positions are given, as generate() does: transformers gets them wrong from a mask.
    """
    mask, at = inputs["attention_mask"], next_positions(model, inputs)
    for step in range(continuation.shape[1]):
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
        given = {"input_ids": continuation[:, step : step + 1], "attention_mask": mask}
        if at is not None:
            given["position_ids"] = at + step
        out = model(**given, **{CACHE: cache})
        logits.append(out.logits[:, -1])
    return torch.stack(logits, 1)


def next_positions(model, inputs):
    """[axes, B, 1] behind a prompt where positions have several axes, else None."""
    if family_of(model).rotary_axes < 2:
        return None
    positions = rope_index(model, inputs)
    return (positions.amax((0, 2))[None, :, None] + 1).expand(len(positions), -1, -1)


def rope_index(model, inputs):
    """[axes, B, T], as the model makes them."""
    names, find = family_of(model).rope_inputs, inner_of(model).get_rope_index
    given = {names.get(name, name): value for name, value in inputs.items()}
    wanted = inspect.signature(find).parameters
    return find(**{name: value for name, value in given.items() if name in wanted})[0]


@torch.no_grad()
def run_pruned(model, method, inputs, continuation, leave=False, **options):
    with stsprune.prune(model, method, **options) as trace:
        out = model(**inputs, **fresh_cache(model))
        cache, first = getattr(out, CACHE), [out.logits[:, -1]]
        lengths = held_lengths(cache)
        if not leave:
            logits = decode(model, inputs, continuation, cache, first)
    if leave:
        logits = decode(model, inputs, continuation, cache, first)
    return logits, trace, lengths, cache


@torch.no_grad()
def run_unpruned(model, inputs, continuation):
    out = model(**inputs, **fresh_cache(model))
    logits = decode(model, inputs, continuation, getattr(out, CACHE), [out.logits[:, -1]])
    forget(model)
    return logits


def fresh_cache(model):
    """A cache of the model's own making; Granite 4 Vision makes none outside of generate()."""
    given = {"use_cache": True}
    if family_of(model).name == "Granite 4 Vision":
        given[CACHE] = DynamicCache(config=family_of(model).decoder(model).config)
    return given


def held_lengths(cache):
    """Decoder layer -> tokens held, for the layers that have keys."""
    return {n: layer.get_seq_length() for n, layer in enumerate(cache.layers) if has_keys(layer)}


def expected_lengths(inputs, trace):
    """Widest row per layer: its text and what each of its images keeps there."""
    lengths = []
    for layer in range(DEPTH):
        held = inputs["attention_mask"].sum(1)
        for image in trace.images:
            before = [stage for stage in image.stages if stage.layer < layer]
            if before:
                held[image.row] -= image.tokens - len(before[-1].kept)
        lengths.append(int(held.max()))
    return lengths


def cells():
    for family, kit in KITS.items():
        for prompt in PROMPTS:
            if "video" not in prompt or kit.video is not None:
                yield pytest.param(family, prompt, id=f"{family}-{prompt}")


def crossed():
    """Family, prompt, method, backend. Lean kits run half: every pair of two, not every three."""
    for cell in cells():
        family, prompt = cell.values
        for number, method in enumerate(METHODS):
            for at, attention in enumerate(("sdpa", "eager")):
                if KITS[family].lean and (list(PROMPTS).index(prompt) + number + at) % 2:
                    continue
                name = f"{family}-{prompt}-{method}-{attention}"
                yield pytest.param(family, prompt, method, attention, id=name)


@pytest.mark.parametrize("leave", [True, False])
def test_padding_that_pruning_makes_vanish(leave):
    """Rows of unequal prompts that end up equally long: the caller's mask is padded still."""
    kit, model = KITS["LLaVA-1.5"], shared("LLaVA-1.5")
    inputs = kit.inputs(model, [["image", "image", 2], ["image", 6]])
    continuation = forced(2)
    method = STS(4, semantics=False)
    got, trace, _, cache = run_pruned(model, method, inputs, continuation, leave=leave)
    assert not inputs["attention_mask"].all()
    assert cache.groups[0].span.valid is None
    assert judged("vanishing padding", got, model, inputs, trace, continuation) < TOLERANCE


@pytest.mark.parametrize(("family", "prompt", "method", "attention"), list(crossed()))
def test_equals_both_oracles(family, prompt, method, attention):
    model, rows = shared(family, attention), PROMPTS[prompt]
    inputs = KITS[family].inputs(model, rows)
    continuation = forced(len(rows))
    # What was decoded inside and outside alternates over the table.
    leave = (len(prompt) + len(method) + len(attention)) % 2 == 0
    got, trace, lengths, cache = run_pruned(
        model, METHODS[method], inputs, continuation, leave=leave
    )
    assert [image.visual.video for image in trace.images] == [
        part == "video" for row in rows for part in row if isinstance(part, str)
    ]
    assert judged(family, got, model, inputs, trace, continuation) < TOLERANCE
    expected = expected_lengths(inputs, trace)
    assert lengths == {layer: expected[layer] for layer in lengths}
    assert lengths[max(lengths)] < inputs["input_ids"].shape[1]
    assert held_lengths(cache) == {layer: held + STEPS for layer, held in lengths.items()}
    assert cache.get_seq_length() == inputs["input_ids"].shape[1] + STEPS


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(("family", "prompt"), list(cells()))
def test_whole_budget_equals_unpruned(family, prompt, attention):
    if KITS[family].lean and (attention == "eager") != (prompt == "left padding"):
        pytest.skip("lean: one backend per prompt")
    model, rows = shared(family, attention), PROMPTS[prompt]
    inputs = KITS[family].inputs(model, rows)
    continuation = forced(len(rows))
    got, *_ = run_pruned(model, STS(1.0), inputs, continuation)
    wanted = run_unpruned(model, inputs, continuation)
    assert (got - wanted).abs().max() < 1e-5


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", KITS)
def test_generate_is_the_argmax_of_the_reference(family, method):
    model, rows = shared(family), PROMPTS["a row without image"]
    inputs = KITS[family].inputs(model, rows)
    with stsprune.prune(model, METHODS[method]) as trace:
        out = model.generate(**inputs, max_new_tokens=6, do_sample=False)
    new = out[:, inputs["input_ids"].shape[1] :]
    for oracle in oracles(model).values():
        wanted = oracle(model, counted(model, inputs), trace, new[:, :-1])
        chosen = wanted.gather(-1, new[..., None])[..., 0]
        assert (wanted.amax(-1) - chosen).abs().max() < TOLERANCE


def counted(model, inputs):
    """generate() counts positions over the padding; a bare forward pass does not."""
    if family_of(model).rotary_axes > 1:
        return inputs
    positions = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
    return {**inputs, "position_ids": positions}


@pytest.mark.parametrize("family", [name for name, kit in KITS.items() if kit.beams])
def test_beams(family):
    need_repeated_pictures(several=family == "InternVL 3")
    need_todays_beams(KITS[family].lean)
    need_repeated_grids(family)
    second = [2, "image", 1, "image", 3] if ENCODES_BEFORE_BEAMS else [2, "image", 4]
    model, rows = shared(family), [[3, "image", 5], second]
    inputs = KITS[family].inputs(model, rows)
    with stsprune.prune(model, METHODS["both"]) as trace:
        out = model.generate(
            **inputs,
            max_new_tokens=5,
            do_sample=False,
            num_beams=3,
            length_penalty=0.0,
            return_dict_in_generate=True,
            output_scores=True,
        )
    trace.images = [image for image in trace.images if image.row % 3 == 0]
    for image in trace.images:
        image.row //= 3
    new = out.sequences[:, inputs["input_ids"].shape[1] :]
    for oracle in oracles(model).values():
        logits = oracle(model, counted(model, inputs), trace, new[:, :-1]).log_softmax(-1)
        score = logits.gather(-1, new[..., None]).sum((1, 2))
        assert (score - out.sequences_scores).abs().max() < 1e-3


@dataclass
class Talk:
    """A conversation of one row in two turns, each with an image, an answer in between.

    whole: all of it as one prompt; first: the first turn; second: what the second turn brings;
    answer: the tokens in between.
    """

    whole: dict
    first: dict
    second: dict
    answer: torch.Tensor


def talk(family, second_part="image"):
    kit, model = KITS[family], shared(family)
    rows, later = [3, "image", 5], [3, 2, second_part, 4]  # 3 words of answer
    first = kit.inputs(model, [rows])
    whole = kit.inputs(model, [[*rows, *later]])
    start = first["input_ids"].shape[1]
    assert torch.equal(whole["input_ids"][:, :start], first["input_ids"])
    second = kit.inputs(model, [[*rows, *later]], skip=1)
    second["input_ids"] = second["input_ids"][:, start + 3 :]
    if family_of(model).rotary_axes > 1:
        # transformers computes them for a first turn only
        second["position_ids"] = rope_index(model, whole)[..., start + 3 :]
        second.pop("mm_token_type_ids", None)
    for name in family_of(model).per_token:
        if name in second:
            second[name] = second[name][:, start + 3 :]
    return Talk(whole, first, second, whole["input_ids"][:, start : start + 3])


@pytest.mark.parametrize("method", ["structure", "both", "several semantic layers"])
@pytest.mark.parametrize("family", [name for name, kit in KITS.items() if kit.turns])
def test_two_turns_with_images(family, method):
    """The second turn's image is pruned too, and its text sees what was kept of the first."""
    model, chat, continuation = shared(family), talk(family), forced(1)
    with torch.no_grad(), stsprune.prune(model, METHODS[method]) as trace:
        cache = getattr(model(**chat.first, use_cache=True), CACHE)
        decode(model, chat.first, chat.answer, cache, [torch.zeros(1, VOCABULARY)])
        images = copy.deepcopy(trace.images)
        out = model(**chat.second, **{CACHE: cache})
        lengths = held_lengths(cache)
        got = decode(model, chat.whole, continuation, cache, [out.logits[:, -1]])
    assert len(trace.images) == 1
    trace.images = images + trace.images
    assert judged(f"{family}, turns", got, model, chat.whole, trace, continuation) < TOLERANCE
    expected = expected_lengths(chat.whole, trace)
    assert lengths == {layer: expected[layer] for layer in lengths}


@pytest.mark.parametrize("family", KITS)
def test_a_turn_of_text_outside(family):
    """After `prune` is left, a further question of several tokens goes on exactly."""
    model, more = shared(family), forced(1)
    inputs = KITS[family].inputs(model, [[3, "image", 5]])
    with torch.no_grad():
        with stsprune.prune(model, METHODS["both"]) as trace:
            cache = getattr(model(**inputs, use_cache=True), CACHE)
        # No mask and no positions: the cache alone knows how to go on.
        logits = [model(input_ids=more[:, :4], **{CACHE: cache}).logits]
        logits += [
            model(input_ids=more[:, at : at + 1], **{CACHE: cache}).logits for at in range(4, STEPS)
        ]
    forget(model)
    got = torch.cat(logits, 1)
    assert judged(f"{family}, turns", got, model, inputs, trace, more, behind=1) < TOLERANCE


def forget(model):
    """A model with three-axis positions keeps an offset from its last call."""
    if hasattr(inner_of(model), "rope_deltas"):
        inner_of(model).rope_deltas = None


def inner_of(model):
    return family_of(model).inner(model)


class TestNegativeControls:
    """What the proof must notice, in every family, whichever oracle is asked."""

    def difference(self, family, wrong_trace=lambda trace: None, wrong_inputs=lambda given: given):
        model, rows = shared(family), PROMPTS["left padding"]
        inputs = KITS[family].inputs(model, rows)
        continuation = forced(len(rows))
        got, trace, *_ = run_pruned(model, METHODS["both"], inputs, continuation)
        wrong_trace(trace)
        given = wrong_inputs(dict(inputs))
        return min(differences(got, model, given, trace, continuation).values())

    @pytest.mark.parametrize("family", KITS)
    def test_a_skipped_gather(self, family):
        def skip(trace):
            for image in trace.images:
                del image.stages[-1]

        assert self.difference(family, skip) > 1e-3

    @pytest.mark.parametrize("family", KITS)
    def test_another_token_kept(self, family):
        def shift(trace):
            stage = trace.images[0].stages[0]
            stage.kept.copy_((stage.kept + 1) % trace.images[0].tokens)

        assert self.difference(family, shift) > 1e-3

    @pytest.mark.parametrize("family", KITS)
    def test_one_index_exchanged(self, family):
        def exchange(trace):
            """The last stage of one image has a token that the filter dropped, for another."""
            *_, before, last = trace.images[-1].stages
            gone = before.kept[~torch.isin(before.kept, last.kept)]
            last.kept[0] = gone[0]

        assert self.difference(family, exchange) > 1e-3

    @pytest.mark.parametrize("family", KITS)
    def test_attended_padding(self, family):
        def attend(given):
            if family_of(shared(family)).rotary_axes == 1:
                length = given["input_ids"].shape[1]
                given["position_ids"] = torch.arange(length).expand(len(given["input_ids"]), -1)
            given["attention_mask"] = torch.ones_like(given["attention_mask"])
            return given

        assert self.difference(family, wrong_inputs=attend) > 0.01

    @pytest.mark.parametrize(
        "family", [name for name, kit in KITS.items() if FAMILIES[kit.model].rotary_axes == 1]
    )
    def test_compacted_positions(self, family):
        model, rows = shared(family), PROMPTS["left padding"]
        inputs = KITS[family].inputs(model, rows)
        continuation = forced(len(rows))
        got, trace, *_ = run_pruned(
            model, METHODS["both"], inputs, continuation, positions="compact"
        )
        assert min(differences(got, model, inputs, trace, continuation).values()) > 0.01

    @pytest.mark.parametrize("family", ["Qwen3-VL", "Qwen3-VL-MoE"])
    def test_skipped_deepstack(self, family, monkeypatch):
        from stsprune.engine.deepstack import Deepstack

        monkeypatch.setattr(Deepstack, "add", lambda self, layer, hidden, columns: hidden)
        assert self.difference(family) > 0.01


def test_every_family_is_proven():
    """All that this release of transformers has."""
    shown = {type(FAMILIES[kit.model]) for kit in KITS.values()}
    assert shown == {
        type(family)
        for name, family in FAMILIES.items()
        if hasattr(transformers, name) and name not in BROKEN and not older_than(family.since)
    }
    assert len(shown) >= 13
