"""An int budget is an upper bound: what has no more tokens runs unpruned; numpy's numbers work."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from snapshot import Snapshot
from test_families import forced, run_pruned
from tiny_llava import GRID, make_inputs
from zoo import KITS, shared

import stsprune
from stsprune.errors import InvalidArgumentError, InvalidTypeError
from stsprune.method import STS

ROWS = [[3, "image", 5], [7], [2, "image", 1, "image", 3]]
FAR = 10_000


def last_logits(model, inputs, method=None, **options):
    if method is None:
        return model(**inputs).logits[:, -1], []
    with stsprune.prune(model, method, **options) as trace:
        return model(**inputs).logits[:, -1], trace.images


@torch.no_grad()
@pytest.mark.parametrize("name", stsprune.methods())
@pytest.mark.parametrize("budget", [GRID**2, GRID**2 + 1, FAR])
def test_every_method_keeps_all(llava, name, budget):
    inputs = make_inputs(ROWS)
    logits, images = last_logits(llava, inputs, stsprune.methods()[name](budget))
    assert torch.equal(logits, last_logits(llava, inputs)[0])
    assert [image.stages for image in images] == [[]] * 3


@torch.no_grad()
@pytest.mark.parametrize("family", KITS)
def test_every_family_keeps_all(family):
    model = shared(family)
    inputs = KITS[family].inputs(model, ROWS)
    before = Snapshot(model)
    logits, images = last_logits(model, inputs, STS(FAR))
    assert Snapshot(model) == before
    assert torch.allclose(logits, last_logits(model, inputs)[0], atol=1e-5)
    assert [image.stages for image in images] == [[]] * 3


@torch.no_grad()
@pytest.mark.parametrize("options", [{"reusable": True}, {"positions": "compact"}], ids=str)
def test_every_mode_keeps_all(llava, options):
    inputs = make_inputs(ROWS)
    logits, images = last_logits(llava, inputs, STS(FAR), **options)
    assert torch.allclose(logits, last_logits(llava, inputs)[0], atol=1e-5)
    assert [image.stages for image in images] == [[]] * 3


@torch.no_grad()
def test_small_pictures_beside_large_ones():
    """A batch of any resolution does not stop because one picture is small."""
    kit, model = KITS["LLaVA-NeXT"], shared("LLaVA-NeXT")
    inputs = kit.inputs(model, [[1, "image", 2, "image", 1, "image", 4], [3, "image", 2]])
    sizes = [image.tokens for image in last_logits(model, inputs, STS(1))[1]]
    assert len(set(sizes)) > 1
    _, images = last_logits(model, inputs, STS(max(sizes) - 1))
    assert [bool(image.stages) for image in images] == [size == max(sizes) for size in sizes]
    _, images = last_logits(model, inputs, STS(max(sizes) + 1))
    assert not any(image.stages for image in images)


@pytest.mark.parametrize("budget", [np.int64(9), np.uint8(9), np.float32(0.375)], ids=str)
def test_numpy_budgets(llava, budget):
    inputs, continuation = make_inputs(ROWS), forced(3)
    got, *_ = run_pruned(llava, STS(budget), inputs, continuation)
    assert torch.equal(got, run_pruned(llava, STS(budget.item()), inputs, continuation)[0])


def test_numpy_total(llava):
    inputs, continuation = make_inputs(ROWS), forced(3)
    got, *_ = run_pruned(llava, STS(9), inputs, continuation, budget_total=np.int64(20))
    assert torch.equal(got, run_pruned(llava, STS(9), inputs, continuation, budget_total=20)[0])


@pytest.mark.parametrize(
    ("total", "kind"),
    [
        *((one, InvalidTypeError) for one in (True, np.bool_(True), "9", 9.0, torch.tensor(9))),
        *((one, InvalidArgumentError) for one in (0, -1, np.int64(0))),
    ],
    ids=str,
)
def test_totals_that_are_refused(llava, total, kind):
    with (
        pytest.raises(kind, match="budget_total must be None or"),
        stsprune.prune(llava, STS(9), budget_total=total),
    ):
        pytest.fail("must not be entered")
