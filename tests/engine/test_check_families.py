"""`stsprune.check` agrees with the proof of every family (test_families.py)."""

from __future__ import annotations

import pytest
import torch
from differences import ORACLES, differences
from test_families import METHODS, STEPS, TOLERANCE, expected_lengths, run_pruned
from zoo import DEPTH, KITS, shared

import stsprune
from stsprune.checking.theory import planned_lengths
from stsprune.engine.families import family_of
from stsprune.engine.forced import Prompt
from stsprune.engine.mixers import scoring_layers

ROWS = [[3, "image", 5], [1, "image", 2], [4, "image", 9]]


@pytest.mark.parametrize("family", KITS)
def test_same_differences(family):
    """For the tokens that `check` forces, to each oracle; and the model is left as it was."""
    model, method = shared(family), METHODS["both"]
    inner = family_of(model).inner(model)
    inputs = KITS[family].inputs(model, ROWS)
    before = dict(inner.__dict__)
    found = stsprune.check(model, inputs, method, steps=STEPS, rounds=1)
    assert inner.__dict__ == before
    told = [finding.difference for finding in found.prompts[0].findings]
    exact = max(difference for difference in told if difference is not None) < TOLERANCE
    assert found.ok == exact, found.verdict
    prompt = Prompt.of(model, inputs, STEPS)
    with torch.no_grad():
        tokens, _ = prompt.answer(*prompt.prefill())
    if hasattr(inner, "rope_deltas"):
        inner.rope_deltas = None
    got, trace, lengths, _ = run_pruned(model, method, inputs, tokens)
    wanted = differences(got, model, inputs, trace, tokens)
    *asked, whole = found.prompts[0].findings
    for name, finding in zip(ORACLES, asked, strict=True):
        if name in wanted:
            assert finding.difference == pytest.approx(wanted[name], abs=TOLERANCE / 4)
        else:
            assert finding.difference is None
    # A rounding once reached 1.1e-4 here (transformers 5.6), equally far from both oracles.
    assert max(wanted.values()) < 2 * TOLERANCE
    assert whole.difference < 1e-5
    scoring = scoring_layers(family_of(model).decoder(model))
    planned = planned_lengths(method, trace, inputs["attention_mask"], DEPTH, scoring)
    assert planned == expected_lengths(inputs, trace)
    assert lengths == {layer: planned[layer] for layer in lengths}
