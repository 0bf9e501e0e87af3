"""Dropping a token equals masking it, and equals not having it: the engine against both oracles."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from differences import differences, judged
from tiny_llava import DEPTH, GRID, make_inputs

import stsprune
from stsprune.engine.compat import CACHE
from stsprune.method import STS, Plan

TOLERANCE, STEPS = 1e-4, 8
BATCHES = {
    "one image": [[3, "image", 5]],
    "left padding": [[3, "image", 5], [1, "image", 2], [4, "image", 9]],
    "two images": [[2, "image", 3, "image", 4]],
    "a row without image": [[3, "image", 5], [7], [2, "image", 1, "image", 3]],
    "images at both ends": [["image", 2, "image", 1], ["image", 6]],
}


@dataclass(frozen=True)
class Ladder(STS):
    """Structure, then two semantic layers."""

    def plan(self, tokens, depth):
        return Plan(16, ((1, 9), (3, 4)))


METHODS = {
    "structure": STS(8, semantics=False),
    "semantics": STS(14, structure=False, layer=1),
    "semantics, all queries": STS(14, structure=False, layer=1, queries="all"),
    "both": STS(8, layer=1, ratio=1.6),
    "both, last layer": STS(8, layer=DEPTH - 2, ratio=1.1),
    "two semantic layers": Ladder(9),
}


def positions_of(inputs):
    return (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)


def decode(model, inputs, continuation, cache, logits, positions=None):
    """Force the continuation token by token; logits [B, 1 + steps, V]."""
    mask = inputs["attention_mask"]
    at = positions_of(inputs)[:, -1:]
    for step in range(continuation.shape[1]):
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
        out = model(
            input_ids=continuation[:, step : step + 1],
            attention_mask=mask,
            position_ids=at + 1 + step,
            **{CACHE: cache},
        )
        logits.append(out.logits[:, -1])
    return torch.stack(logits, 1)


@torch.no_grad()
def run_pruned(model, method, inputs, continuation, leave=False, **options):
    with stsprune.prune(model, method, **options) as trace:
        out = model(**inputs, position_ids=positions_of(inputs), use_cache=True)
        lengths = [layer.keys.shape[2] for layer in getattr(out, CACHE).layers]
        first = [out.logits[:, -1]]
        if not leave:
            logits = decode(model, inputs, continuation, getattr(out, CACHE), first)
    if leave:
        logits = decode(model, inputs, continuation, getattr(out, CACHE), first)
    return logits, trace, lengths, getattr(out, CACHE)


def forced(inputs):
    random = torch.Generator().manual_seed(7)
    return torch.randint(3, 60, (len(inputs["input_ids"]), STEPS), generator=random)


def expected_lengths(inputs, trace):
    """Widest row per layer: its text and what each of its images keeps there."""
    valid = inputs["attention_mask"].sum(1)
    lengths = []
    for layer in range(DEPTH):
        held = valid.clone()
        for image in trace.images:
            before = [stage for stage in image.stages if stage.layer < layer]
            if before:
                held[image.row] -= GRID**2 - len(before[-1].kept)
        lengths.append(int(held.max()))
    return lengths


@pytest.mark.parametrize("leave", [False, True], ids=["inside", "decoded outside"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batch", BATCHES)
def test_equals_both_oracles(any_llava, batch, method, leave):
    inputs = make_inputs(BATCHES[batch])
    inputs["position_ids"] = positions_of(inputs)
    continuation = forced(inputs)
    given = {k: v for k, v in inputs.items() if k != "position_ids"}
    got, trace, lengths, cache = run_pruned(
        any_llava, METHODS[method], given, continuation, leave=leave
    )
    assert len(trace.images) == sum(row.count("image") for row in BATCHES[batch])
    assert judged(batch, got, any_llava, inputs, trace, continuation) < TOLERANCE
    assert lengths == expected_lengths(inputs, trace)
    assert lengths[-1] < inputs["input_ids"].shape[1]
    after = [layer.keys.shape[2] for layer in cache.layers]
    assert after == [length + STEPS for length in lengths]
    assert cache.get_seq_length() == inputs["input_ids"].shape[1] + STEPS


@pytest.mark.parametrize("batch", BATCHES)
def test_whole_budget_equals_unpruned(any_llava, batch):
    inputs = make_inputs(BATCHES[batch])
    continuation = forced(inputs)
    got, *_ = run_pruned(any_llava, STS(GRID**2), inputs, continuation)
    with torch.no_grad():
        out = any_llava(**inputs, position_ids=positions_of(inputs), use_cache=True)
        wanted = decode(any_llava, inputs, continuation, getattr(out, CACHE), [out.logits[:, -1]])
    assert (got - wanted).abs().max() < 1e-5


def test_without_cache(any_llava):
    inputs = make_inputs(BATCHES["a row without image"])
    inputs["position_ids"] = positions_of(inputs)
    with torch.no_grad(), stsprune.prune(any_llava, METHODS["both"]) as trace:
        out = any_llava(**inputs, use_cache=False)
    assert getattr(out, CACHE) is None
    got, nothing = out.logits[:, -1:], forced(inputs)[:, :0]
    assert max(differences(got, any_llava, inputs, trace, nothing).values()) < TOLERANCE


def test_batch_rows_do_not_touch_each_other(llava):
    rows = BATCHES["left padding"]
    inputs = make_inputs(rows)
    continuation = forced(inputs)
    together, *_ = run_pruned(llava, METHODS["both"], inputs, continuation)
    for i, row in enumerate(rows):
        width = sum(GRID**2 if part == "image" else part for part in row)
        alone = {
            "input_ids": inputs["input_ids"][i : i + 1, -width:],
            "attention_mask": inputs["attention_mask"][i : i + 1, -width:],
            "pixel_values": inputs["pixel_values"][i : i + 1],
        }
        got, *_ = run_pruned(llava, METHODS["both"], alone, continuation[i : i + 1])
        assert (got - together[i : i + 1]).abs().max() < TOLERANCE


def test_compact_structure_equals_feeding_the_kept_embeddings(any_llava):
    """Re-indexed positions = the text model given the kept rows and nothing else."""
    inputs = make_inputs(BATCHES["two images"])
    continuation = forced(inputs)
    got, trace, *_ = run_pruned(
        any_llava, METHODS["structure"], inputs, continuation, positions="compact"
    )
    with torch.no_grad():
        images = torch.cat(
            list(any_llava.model.get_image_features(inputs["pixel_values"]).pooler_output)
        )
        embeds = any_llava.get_input_embeddings()(inputs["input_ids"])
        visual = inputs["input_ids"] == any_llava.config.image_token_id
        embeds[visual] = images
        keep = ~visual[0]
        places = visual[0].nonzero().flatten().view(2, -1)
        for place, image in zip(places, trace.images, strict=True):
            keep[place[image.stages[0].kept]] = True
        rows = torch.cat([embeds[:, keep], any_llava.get_input_embeddings()(continuation)], 1)
        hidden = any_llava.model.language_model(inputs_embeds=rows).last_hidden_state
        wanted = any_llava.lm_head(hidden)[:, int(keep.sum()) - 1 :]
    assert (got - wanted).abs().max() < TOLERANCE


def test_compact_with_semantics_decodes_the_same_outside(any_llava):
    inputs = make_inputs(BATCHES["a row without image"])
    continuation = forced(inputs)
    options = {"positions": "compact"}
    inside, *_ = run_pruned(any_llava, METHODS["both"], inputs, continuation, **options)
    outside, *_ = run_pruned(any_llava, METHODS["both"], inputs, continuation, True, **options)
    assert (inside - outside).abs().max() < TOLERANCE


class TestNegativeControls:
    """What the proof must notice."""

    def difference(self, llava, inputs, change=None, **options):
        continuation = forced(inputs)
        given = {k: v for k, v in inputs.items() if k != "position_ids"}
        got, trace, *_ = run_pruned(llava, METHODS["both"], given, continuation, **options)
        if change:
            change(trace, inputs)
        return min(differences(got, llava, inputs, trace, continuation).values())

    def test_compacted_positions(self, llava):
        inputs = make_inputs(BATCHES["left padding"])
        assert self.difference(llava, inputs, positions="compact") > 0.01

    def test_attended_padding(self, llava):
        def attend(trace, inputs):
            inputs["position_ids"] = positions_of(inputs)
            inputs["attention_mask"] = torch.ones_like(inputs["attention_mask"])

        assert self.difference(llava, make_inputs(BATCHES["left padding"]), attend) > 0.01

    def test_skipped_gather(self, llava):
        def skip(trace, inputs):
            del trace.images[0].stages[-1]

        assert self.difference(llava, make_inputs(BATCHES["one image"]), skip) > 1e-3
