"""`stsprune.check` agrees with the proof of every family (test_families.py)."""

from __future__ import annotations

import pytest
import torch
from differences import differences
from test_families import METHODS, TOLERANCE, expected_lengths, run_pruned
from zoo import DEPTH, KITS, shared

import stsprune
from stsprune.checking.forced import Prompt
from stsprune.checking.theory import planned_lengths

ROWS = [[3, "image", 5], [1, "image", 2], [4, "image", 9]]


@pytest.mark.parametrize("family", KITS)
def test_same_differences(family):
    """For the tokens that `check` forces, to each oracle; and the model is left as it was."""
    model, method = shared(family), METHODS["both"]
    inputs = KITS[family].inputs(model, ROWS)
    before = dict(model.model.__dict__)
    found = stsprune.check(model, inputs, method, steps=8, rounds=1)
    assert model.model.__dict__ == before
    assert found.ok, found.verdict
    prompt = Prompt.of(model, inputs, 8)
    with torch.no_grad():
        tokens, _ = prompt.answer(*prompt.prefill())
    if hasattr(model.model, "rope_deltas"):
        model.model.rope_deltas = None
    got, trace, lengths, _ = run_pruned(model, method, inputs, tokens)
    wanted = differences(got, model, inputs, trace, tokens)
    masked, by_hand, whole = found.prompts[0].findings
    assert masked.difference == pytest.approx(wanted["masked"], abs=TOLERANCE / 4)
    assert by_hand.difference == pytest.approx(wanted["by hand"], abs=TOLERANCE / 4)
    assert whole.difference < 1e-5
    planned = planned_lengths(method, trace, inputs["attention_mask"], DEPTH)
    assert planned == lengths == expected_lengths(inputs, trace)
