"""Every method on every family: dropping and merging equal both oracles."""

from __future__ import annotations

import itertools

import pytest
import torch
from differences import differences, judged
from test_families import FEW, PROMPTS, TOLERANCE, forced, run_pruned
from zoo import IMAGE, KITS, shared

import stsprune
from stsprune.engine.families import family_of
from stsprune.engine.towers import READ_ONLY, TOWERS
from stsprune.errors import UnsupportedModeError, UnsupportedModelError
from stsprune.method import Plan
from stsprune.method.sparsevlm import SparseVLM

#: Enough for methods that run several layers with all tokens.
BUDGET = 0.6


def difference(family, name, method, prompt):
    model, rows = shared(family), PROMPTS[prompt]
    inputs, continuation = KITS[family].inputs(model, rows), forced(len(rows))
    got, trace, *_ = run_pruned(model, method, inputs, continuation)
    return judged(f"{name}, all families", got, model, inputs, trace, continuation), trace


def some_methods():
    """(family, method): all of them; of lean families every fourth, another fourth each.

    So of all families where the matrix of releases (tests/matrix.py) asks for few.
    """
    every, place = list(stsprune.methods()), 0
    for family, kit in KITS.items():
        few = kit.lean or FEW
        place += few
        yield from ((family, name) for name in (every[place % 4 :: 4] if few else every))


@pytest.mark.parametrize(("family", "name"), list(some_methods()))
def test_equals_both_oracles(family, name):
    method = stsprune.methods()[name](BUDGET)
    if "encoder" in method.needs and KITS[family].model not in TOWERS | READ_ONLY:
        with pytest.raises(UnsupportedModelError, match="encoder"):
            difference(family, name, method, "left padding")
        return
    decoder = family_of(shared(family)).decoder(shared(family))
    per_layer = getattr(decoder.config, "hidden_size_per_layer_input", 0)
    if (per_layer or family == "Granite 4 Vision") and name in ("tome", "downsampling"):
        with pytest.raises(UnsupportedModeError, match="must not merge before the first layer"):
            difference(family, name, method, "a row without image")
        return
    seen, trace = difference(family, name, method, "a row without image")
    assert seen < TOLERANCE
    for image in trace.images:
        assert image.stages
        assert len(image.stages[-1].kept) < image.tokens
        assert all((stage.merged is not None) == method.merges for stage in image.stages)


@pytest.mark.parametrize("name", [n for n, m in stsprune.methods().items() if m.merges])
def test_merged_states_matter(name):
    """The proof would notice a merge that is not applied."""
    model, rows = shared("LLaVA-1.5"), PROMPTS["left padding"]
    inputs, continuation = KITS["LLaVA-1.5"].inputs(model, rows), forced(len(rows))
    got, trace, *_ = run_pruned(model, stsprune.methods()[name](BUDGET), inputs, continuation)
    for image in trace.images:
        for stage in image.stages:
            stage.merged.add_(torch.randn(stage.merged.shape[-1]))
    assert min(differences(got, model, inputs, trace, continuation).values()) > 0.01


class OneStage(SparseVLM):
    """8 tokens kept after layer 1: of 17 deleted ones, 5 are recycled into one cluster."""

    def plan(self, tokens, depth):
        return Plan(None, ((1, 8),))


def test_context_merge_is_the_mean_of_hidden_states():
    """SparseVLM's merge inside the LLM, against hidden states that the unpruned model shows."""
    model = shared("LLaVA-1.5")
    inputs = KITS["LLaVA-1.5"].inputs(model, [[3, "image", 5]])
    with torch.no_grad():
        plain = model(**inputs, output_hidden_states=True).hidden_states
        with stsprune.prune(model, OneStage(8)) as trace:
            model(**inputs)
    (stage,) = trace.images[0].stages
    states = plain[2][inputs["input_ids"] == IMAGE]  # what layer 1 made
    own, gone = states[stage.kept], [i for i in range(25) if i not in stage.kept.tolist()]
    moved = ((stage.merged - own).abs().amax(-1) > 1e-4).nonzero().flatten().tolist()
    assert len(moved) == 1
    found = []
    for chosen in itertools.combinations(gone, 5):
        mean = (own[moved[0]] + states[list(chosen)].sum(0)) / 6
        found.append(float((mean - stage.merged[moved[0]]).abs().max()))
    assert sorted(found)[0] < 1e-4 < 0.01 < sorted(found)[1]


@pytest.mark.skipif("Granite Docling" not in KITS, reason="this transformers has no such class")
@pytest.mark.parametrize("name", ["tome", "downsampling"])
def test_a_decoder_that_scales_its_input(name):
    """What merging before it makes is scaled like any other embedding."""
    method = stsprune.methods()[name](BUDGET)
    assert shared("Granite Docling").get_decoder().embedding_multiplier != 1
    assert difference("Granite Docling", name, method, "a row without image")[0] < TOLERANCE
