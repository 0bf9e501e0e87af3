"""Any prompt, any budget: exact, the right counts, no NaN, nothing left behind."""

from __future__ import annotations

import itertools

import torch
from conftest import DEPTH, GRID, make_inputs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_exactness import TOLERANCE, forced, positions_of, run_pruned
from test_generate import Snapshot

from stsprune.engine.reference import masked_logits
from stsprune.method import STS

ROW = st.lists(st.sampled_from(["image", 1, 2, 5]), max_size=4).map(lambda parts: [*parts, 2])


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rows=st.lists(ROW, min_size=1, max_size=3),
    budget=st.one_of(st.integers(1, GRID**2), st.floats(0.02, 1)),
    layer=st.integers(0, DEPTH - 2),
    ratio=st.floats(1, 3),
    queries=st.sampled_from(["last", "all"]),
    seed=st.integers(0, 99),
)
def test_random_prompts(llava, rows, budget, layer, ratio, queries, seed):
    method = STS(budget, layer=layer, ratio=ratio, queries=queries)
    plan = method.plan(GRID**2, DEPTH)
    inputs = make_inputs(rows, seed)
    before = Snapshot(llava)
    continuation = forced(inputs)
    got, trace, *_ = run_pruned(llava, method, inputs, continuation)
    assert Snapshot(llava) == before
    assert not got.isnan().any()
    wanted_counts = [c for c in (plan.structure, *dict(plan.semantics).values()) if c is not None]
    assert len(trace.images) == sum(row.count("image") for row in rows)
    for image in trace.images:
        assert [len(stage.kept) for stage in image.stages] == wanted_counts
        for stage in image.stages:
            assert torch.equal(stage.kept, stage.kept.unique())
        kept = [set(stage.kept.tolist()) for stage in image.stages]
        assert all(late <= early for early, late in itertools.pairwise(kept))
    inputs["position_ids"] = positions_of(inputs)
    wanted = masked_logits(llava, inputs, trace, continuation)
    assert (got - wanted).abs().max() < TOLERANCE
