"""Plans add up to their budget; settings are checked when built; choices do what they say."""

from __future__ import annotations

import itertools
from dataclasses import fields

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import stsprune
from stsprune.errors import InvalidArgumentError
from stsprune.method import STS, InstructionAttention, Random, VisualTokens
from stsprune.method.wrapped import Wrapped
from stsprune.selection import cell_centres, repulsion


def average(plan, tokens, depth):
    counts, held = [], tokens if plan.structure is None else plan.structure
    drops = dict(plan.semantics)
    for layer in range(depth):
        counts.append(held)
        held = drops.get(layer, held)
    return sum(counts) / depth


@given(
    tokens=st.integers(4, 600),
    depth=st.integers(3, 40),
    share=st.floats(0.01, 1),
    ratio=st.floats(1, 4),
    steps=st.integers(1, 4),
    withdraw=st.none() | st.floats(0.1, 1),
    data=st.data(),
)
def test_the_budget_is_the_average_per_layer(tokens, depth, share, ratio, steps, withdraw, data):
    layer = data.draw(st.integers(0, depth - 2))
    method = STS(share, layer=layer, ratio=ratio, steps=steps, withdraw=withdraw)
    plan, budget = method.plan(tokens, depth), max(1.0, share * tokens)
    spent = average(plan, tokens, depth)
    assert spent <= budget + 1e-9
    rounding = max(1, depth // 8) * (steps - 1)  # counts between the first and the last
    assert spent > budget - 1 - (layer + 1 + rounding) / depth  # nothing is left that would fit
    counts = [tokens if plan.structure is None else plan.structure, *dict(plan.semantics).values()]
    assert all(1 <= b <= a <= tokens for a, b in itertools.pairwise(counts))


def test_int_and_fraction_agree():
    assert STS(36).plan(144, 8) == STS(0.25).plan(144, 8)


@pytest.mark.parametrize("method", [STS(25), STS(1.0), Random(25), STS(25, structure=False)])
def test_all_tokens_is_no_plan(method):
    plan = method.plan(25, 6)
    assert plan.structure is None
    assert plan.semantics == ()


def test_single_stages():
    assert STS(10, semantics=False).plan(100, 8).structure == 10
    plan = STS(50, structure=False, layer=1, withdraw=None).plan(100, 8)
    assert plan.structure is None
    assert plan.semantics == ((1, (50 * 8 - 200) // 6),)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"ratio": 0.5}, "ratio must be in"),
        ({"steps": 0}, "steps must be an int >= 1, got 0"),
        ({"layer": -1}, "layer must be None or an int >= 0"),
        ({"queries": "some"}, "queries must be one of peak, last, all"),
        ({"structure": False, "semantics": False}, "must not both be False"),
        ({"withdraw": 0.0}, r"withdraw must be None or in \(0, 1\], got 0.0"),
        ({"withdraw": 1.5}, "withdraw must be None or in"),
        ({"space": 2.0}, "space must be in"),
        ({"exponent": 0.0}, "exponent must be"),
    ],
)
def test_settings_are_checked_when_built(options, match):
    with pytest.raises(InvalidArgumentError, match=match):
        STS(8, **options)


def visual(images=2, grid=(4, 5)):
    features = torch.randn(images, grid[0] * grid[1], 6, generator=torch.Generator().manual_seed(0))
    return VisualTokens(features, cell_centres(*grid), grid, tuple(range(images)))


def test_sts_selects_by_repulsion():
    tokens = visual()
    wanted = repulsion(tokens.features, tokens.positions, 5, space=0.3, exponent=4.0)
    assert torch.equal(STS(5, space=0.3, exponent=4.0).select(tokens, 5), wanted)


def test_random_depends_on_seed_and_image_only():
    tokens = visual(images=3)
    first, again = Random(5).select(tokens, 5), Random(5).select(tokens, 5)
    assert torch.equal(first, again)
    assert not torch.equal(first, Random(5, seed=1).select(tokens, 5))
    assert not torch.equal(first[0], first[1])
    assert all(len(set(row)) == 5 for row in first.tolist())


def test_scores_are_the_softmax_of_grouped_queries():
    """Against the definition, written out head by head."""
    random = torch.Generator().manual_seed(1)
    queries = torch.randn(1, 4, 3, 8, generator=random)
    keys = torch.randn(1, 2, 5, 8, generator=random)
    kept = torch.arange(5)[None]
    for rule, used in (("last", [2]), ("all", [1, 2])):
        seen = InstructionAttention(1, 2, queries, [2], keys, kept, 0.5)
        got = STS(4, queries=rule).score(seen)
        wanted = torch.zeros(5)
        for t in used:
            for h in range(4):
                share = (keys[0, h // 2] @ queries[0, h, t] * 0.5).softmax(0)
                wanted += share / 4 / len(used)
        assert (got[0] - wanted).abs().max() < 1e-6


def test_peak_scores_are_the_most_that_any_head_of_any_word_looks():
    """Against the definition, written out; padding in front does not count."""
    random = torch.Generator().manual_seed(2)
    queries = torch.randn(1, 4, 3, 8, generator=random)
    keys = torch.randn(1, 2, 5, 8, generator=random)
    seen = InstructionAttention(1, 2, queries, [2], keys, torch.arange(5)[None], 0.5)
    wanted = torch.zeros(5)
    for t in (1, 2):
        for h in range(4):
            wanted = wanted.maximum((keys[0, h // 2] @ queries[0, h, t] * 0.5).softmax(0))
    got = STS(4, queries="peak").score(seen)
    assert (got[0] - wanted).abs().max() < 1e-6


def test_registry_holds_classes():
    assert stsprune.methods()["sts"] is STS
    assert all(method(budget=4).budget == 4 for method in stsprune.methods().values())


def test_what_the_classes_say_of_themselves():
    known = stsprune.methods().items()
    assert {name for name, method in known if method.ablation} == {
        "structure-only",
        "semantics-only",
        "attention-only",
        "no-filter",
        "no-withdrawal",
        "space=0",
        "space=1",
        "swapped",
    }
    assert {name for name, method in known if method.ranks} == {"dart", "sieve", "swapped"}
    for name, method in known:
        assert method.draws == ("seed" in {field.name for field in fields(method)}), name


@pytest.mark.parametrize("name", stsprune.methods())
def test_a_wrapped_method_is_the_method_to_the_engine(name):
    inner = stsprune.methods()[name](8)
    wrapped = Wrapped(inner)
    assert wrapped.plan(16, 8) == inner.plan(16, 8)
    assert wrapped.budget == inner.budget
    for fact in ("needs", "merges", "reads_text", "tower_layers"):
        assert getattr(wrapped, fact) == getattr(inner, fact)
    assert type(wrapped).__name__ == type(inner).__name__
    assert isinstance(wrapped, Wrapped)


def test_no_stage_inside_the_encoder_beside_a_potential():
    with pytest.raises(InvalidArgumentError, match="potential must be None beside a stage inside"):
        STS(0.5, potential=1.0, encoder=0.5)
