"""Selection alone: the baselines are what they are called."""

from __future__ import annotations

import torch

from stsprune.bench.selecting import contest, lean_max_min_loops, max_min_loops
from stsprune.bench.tables import RATIOS
from stsprune.selection.maxmin import max_min


def test_both_loops_are_max_min_selection():
    features = torch.randn(2, 40, 6, generator=torch.Generator().manual_seed(3))
    unit = torch.nn.functional.normalize(features, dim=-1)
    table = 1 - unit @ unit.transpose(1, 2)
    wanted = max_min(table, 12)
    assert torch.equal(max_min_loops(table, 12), wanted)
    assert torch.equal(lean_max_min_loops(table, 12), wanted)


def test_a_contest_has_every_ratio_of_the_table():
    found = contest(36, 6, 8, 2, "cpu", torch.float32, repeats=2)
    assert set(RATIOS) == found["ratios"].keys()
    for name, ratio in found["ratios"].items():
        one, two = name.split(" / ")
        times = found["milliseconds"]
        assert ratio == times[one]["median"] / times[two]["median"] > 0
