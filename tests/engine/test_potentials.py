"""Budgets that follow the picture, in the engine: counts mix in a batch, exact as ever."""

from __future__ import annotations

import warnings

import pytest
import torch
from differences import differences
from test_costs import NoWaiting
from test_families import run_pruned
from zoo import KITS, shared

import stsprune
from stsprune import STS
from stsprune.engine.compat import CACHE
from stsprune.errors import InvalidArgumentError, InvalidTypeError, NoGainWarning
from stsprune.method import methods
from stsprune.selection import counts_below

TOLERANCE = 1e-4
#: Two images in a row, and a shorter row that is padded on the left.
ROWS = [[1, "image", 2, "image", 4], [3, "image", 2]]
FAMILIES = ["LLaVA-1.5", "Qwen2.5-VL", "LLaVA-NeXT", "InternVL 3"]
MUS = tuple(step / 4 for step in range(2, 60))


def budgets(trace):
    """Tokens that enter the LLM, per image."""
    return [len(image.stages[0].kept) if image.stages else image.tokens for image in trace.images]


def plain_first(inputs):
    """The first picture in one colour, so that counts differ."""
    pixels = inputs["pixel_values"]
    (pixels[: len(pixels) // 3] if pixels.ndim == 2 else pixels[:1]).fill_(0.5)
    return inputs


def mixing(model, inputs, **settings):
    """(method, trace) at the first mu at which counts differ between the images."""
    for mu in MUS:
        method = STS(1.0, potential=mu, **settings)
        with torch.no_grad(), stsprune.prune(model, method) as trace:
            model(**inputs)
        if len(set(budgets(trace))) > 1:
            return method, trace
    raise AssertionError("no mu makes these pictures differ")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("settings", [{"semantics": False}, {"layer": 1}], ids=["structure", "sts"])
def test_mixed_counts_equal_both_oracles(family, settings):
    model = shared(family)
    inputs = plain_first(KITS[family].inputs(model, ROWS))
    continuation = torch.full((2, 3), 5)
    method, _ = mixing(model, inputs, **settings)
    got, trace, *_ = run_pruned(model, method, inputs, continuation)
    assert len(set(budgets(trace))) > 1
    assert max(differences(got, model, inputs, trace, continuation).values()) < TOLERANCE


@pytest.mark.parametrize("mu", [3.0, 6.0, 9.0])
def test_the_counts_are_those_of_the_selection(mu, monkeypatch):
    """And what is kept is what that count as a budget keeps."""
    model, cap = shared("LLaVA-1.5"), 7
    inputs = KITS["LLaVA-1.5"].inputs(model, [["image", 2]])
    seen, original = [], STS.counts
    monkeypatch.setattr(STS, "counts", lambda self, v: seen.append(v) or original(self, v))
    with torch.no_grad(), stsprune.prune(model, STS(cap, potential=mu, semantics=False)) as trace:
        model(**inputs)
    count = int(counts_below(seen[0].features, seen[0].positions, mu, cap))
    assert budgets(trace) == [count]
    assert trace.images[0].budget == count
    with torch.no_grad(), stsprune.prune(model, STS(count, semantics=False)) as fixed:
        model(**inputs)
    assert torch.equal(fixed.images[0].stages[0].kept, trace.images[0].stages[0].kept)


def test_plain_pictures_get_fewer_and_the_cap_holds():
    model = shared("LLaVA-1.5")
    inputs = plain_first(KITS["LLaVA-1.5"].inputs(model, [["image", 2, "image", 4]]))
    with torch.no_grad(), stsprune.prune(model, STS(9, potential=100.0, semantics=False)) as trace:
        model(**inputs)
    assert budgets(trace) == [9, 9]
    _, trace = mixing(model, inputs, semantics=False)
    plain, rich = budgets(trace)
    assert plain < rich


def test_a_potential_above_everything_prunes_nothing():
    model = shared("LLaVA-1.5")
    inputs = KITS["LLaVA-1.5"].inputs(model, ROWS)
    with torch.no_grad():
        unpruned = model(**inputs).logits
        with stsprune.prune(model, STS(1.0, potential=1e6)) as trace:
            assert torch.equal(model(**inputs).logits, unpruned)
    assert not any(image.stages for image in trace.images)


def test_another_question_on_the_same_picture():
    """reusable=True: its own filter, over what the potential let in."""
    model = shared("LLaVA-1.5")
    inputs = plain_first(KITS["LLaVA-1.5"].inputs(model, [["image", 2, "image", 4]]))
    method, _ = mixing(model, inputs, layer=1)
    question = torch.tensor([[5, 6, 7]])
    with torch.no_grad(), stsprune.prune(model, method, reusable=True) as trace:
        cache = getattr(model(**inputs, use_cache=True), CACHE)
        before = [image.stages[0].kept for image in trace.images]
        mask = torch.ones(1, inputs["input_ids"].shape[1] + 3, dtype=torch.long)
        model(input_ids=question, attention_mask=mask, **{CACHE: cache})
    assert len({len(kept) for kept in before}) == 2


@torch.no_grad()
def test_counting_waits_for_nothing(monkeypatch):
    """What waits is the one transfer of all counts, behind them (`plans._counts`)."""
    from stsprune.engine import plans
    from stsprune.method import sts

    # As in test_costs: the CPU checks values and looks at norms, a GPU does not.
    monkeypatch.setattr(sts, "repulsion", sts.sample)
    monkeypatch.setattr("stsprune.selection.distance.SPLIT", 10**9)
    model = shared("LLaVA-1.5")
    inputs = KITS["LLaVA-1.5"].inputs(model, ROWS)
    transfers = []
    original, late = STS.counts, plans._counts

    def counts(self, visual):
        with NoWaiting():
            return original(self, visual)

    def together(*given):
        transfers.append(late(*given))
        return transfers[-1]

    monkeypatch.setattr(STS, "counts", counts)
    monkeypatch.setattr(plans, "_counts", together)
    with stsprune.prune(model, STS(1.0, potential=6.0)):
        model(**inputs)
    assert len(transfers) == 1
    assert len(transfers[0]) == 3


def test_gain_is_judged_by_the_counts():
    model = shared("LLaVA-1.5")
    inputs = KITS["LLaVA-1.5"].inputs(model, [[3, "image", 5]])

    def run(mu):
        with stsprune.prune(model, STS(1.0, potential=mu), warn_no_gain=True), torch.no_grad():
            model(**inputs)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(2.0)
    with pytest.warns(NoGainWarning):
        run(1e6)


@pytest.mark.parametrize("potential", [0, -1.0, float("inf"), float("nan")], ids=str)
def test_values_that_are_refused(potential):
    with pytest.raises(InvalidArgumentError, match="potential must be a finite number > 0"):
        STS(9, potential=potential)


@pytest.mark.parametrize("potential", [True, "7"], ids=str)
def test_types_that_are_refused(potential):
    with pytest.raises(InvalidTypeError, match="potential must be a finite number > 0"):
        STS(9, potential=potential)


def test_what_does_not_go_together():
    with pytest.raises(InvalidArgumentError, match="potential must be None without a structure"):
        STS(9, potential=7.0, structure=False)
    with pytest.raises(InvalidArgumentError, match="potential must be None where the filter comes"):
        methods()["swapped"](9, potential=7.0)
    with (
        pytest.raises(InvalidArgumentError, match="budget_total must be None for a method whose"),
        stsprune.prune(shared("LLaVA-1.5"), STS(9, potential=7.0), budget_total=20),
    ):
        pytest.fail("must not be entered")
