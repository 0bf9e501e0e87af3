"""Every fast path of the selection equals the readable reference, index by index."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stsprune.selection import cell_centres, repulsion
from stsprune.selection.distance import BLOCK, SPLIT, potentials, squared_distances
from stsprune.selection.greedy import greedy_in_place
from stsprune.selection.kernels import describe, has_triton
from stsprune.selection.reference import greedy_reference, most_isolated
from stsprune.selection.swaps import best_swaps

KERNELS = Path(__file__).with_name("kernels_interpreted.py")


def table_of(features, positions, space=0.3, exponent=4.0, eps=1e-3):
    table, logarithm = potentials(features, positions, space, exponent, eps)
    table.diagonal(dim1=-2, dim2=-1).fill_(-torch.inf if logarithm else 0.0)
    first = most_isolated(table, logarithm)
    table.diagonal(dim1=-2, dim2=-1).fill_(torch.inf)
    return table, first, logarithm


@given(
    st.integers(0, 2**31 - 1),
    st.integers(2, 40),
    st.booleans(),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.sampled_from([0.5, 4.0, 40.0]),
)
@settings(max_examples=60, deadline=None)
def test_fast_loop_equals_the_reference(seed, tokens, copies, space, exponent):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(3, tokens, 6, generator=generator)
    if copies:  # ties everywhere
        features = features[:, torch.randint(tokens, (tokens,), generator=generator) // 3]
    positions = cell_centres(1, tokens)
    table, first, logarithm = table_of(features, positions, space, exponent)
    assert torch.equal(
        greedy_in_place(table, first, tokens, logarithm),
        greedy_reference(table, first, tokens, logarithm),
    )


@pytest.mark.parametrize("side", [8, 24])
def test_ties_of_a_plain_picture_fall_as_in_the_reference(side):
    tokens = side * side
    table, first, logarithm = table_of(torch.ones(2, tokens, 3), cell_centres(side, side))
    expected = greedy_reference(table, first, tokens // 2, logarithm)
    assert torch.equal(greedy_in_place(table, first, tokens // 2, logarithm), expected)
    if side == 8:  # centres of binary fractions: four corners equal to the last bit
        assert first.tolist() == [0, 0]
    public = repulsion(torch.ones(2, tokens, 3), cell_centres(side, side), tokens // 2)
    assert torch.equal(public, expected)


@pytest.mark.parametrize("tokens", [SPLIT, BLOCK * 2 + 1, 576])
def test_blocks_equal_the_whole_product(tokens):
    generator = torch.Generator().manual_seed(tokens)
    features = torch.randn(2, tokens, 16, generator=generator)
    features[:, 3] = features[:, -1]
    features[:, 7] = 0
    positions = torch.rand(2, tokens, 2, generator=generator)
    squared = squared_distances(features, positions, 0.3)
    double = squared_distances(features.double(), positions, 0.3)
    torch.testing.assert_close(squared, double.float(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(squared, squared.transpose(1, 2), rtol=0, atol=1e-6)
    assert torch.equal(squared.diagonal(dim1=1, dim2=2), torch.zeros(2, tokens))
    unit = torch.nn.functional.normalize(features.double(), dim=-1)
    feature = torch.cdist(unit, unit).square() / 4
    place = torch.cdist(positions.double(), positions.double()).square() / 2
    torch.testing.assert_close(double, 0.7 * feature + 0.3 * place, rtol=1e-6, atol=1e-9)
    alone = squared_distances(features, positions[0], 0.0)
    assert alone[:, 3, -1].max() < 1e-7  # a copy
    torch.testing.assert_close(alone[:, 7, 8], torch.full((2,), 0.25))  # nothing: half way


@pytest.mark.parametrize("scale", [1e-38, 1e-25, 1e25, 1e38])
def test_rows_of_any_size_keep_their_distances(scale):
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(1, 300, 8, generator=generator).clamp(-3, 3) / 4
    positions = cell_centres(15, 20)
    expected = squared_distances(features, positions, 0.0)
    scaled = features.clone()
    scaled[:, ::2] *= scale
    torch.testing.assert_close(
        squared_distances(scaled, positions, 0.0), expected, rtol=0, atol=2e-6
    )


def test_the_logarithm_takes_over_before_anything_overflows():
    generator = torch.Generator().manual_seed(2)
    features, positions = torch.randn(1, 40, 8, generator=generator), cell_centres(5, 8)
    features[:, 1] = features[:, 0]
    seen = set()
    for exponent in (1.0, 4.0, 10.0, 11.0, 12.0, 13.0, 30.0):
        table, logarithm = potentials(features, positions, 0.3, exponent, 1e-3)
        seen.add(logarithm)
        assert table.sum(-1).isfinite().all()
        values = table if logarithm else table.double().log()
        by_hand = squared_distances(features.double(), positions, 0.3, 1e-6).log() * -exponent / 2
        torch.testing.assert_close(values.double(), by_hand, rtol=1e-4, atol=1e-4)
    assert seen == {False, True}


@given(st.integers(0, 2**31 - 1), st.integers(2, 9), st.sampled_from([2.0, 4.0]))
@settings(max_examples=25, deadline=None)
def test_swaps_agree_in_both_forms(seed, keep, exponent):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, 24, 5, generator=generator).double()
    table, first, _ = table_of(features, cell_centres(4, 6), exponent=exponent)
    kept = greedy_in_place(table, first, keep, False)
    logs = table.log()
    assert torch.equal(best_swaps(table, kept, 3, False), best_swaps(logs, kept, 3, True))


@pytest.mark.skipif(not has_triton(), reason="needs Triton")
def test_kernels_in_the_interpreter():
    """A process of its own: Triton reads TRITON_INTERPRET when a kernel is defined."""
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(KERNELS)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


@pytest.mark.skipif(not has_triton(), reason="needs Triton")
def test_kernels_compile_for_a_gpu_that_is_not_there():
    done = subprocess.run(
        [sys.executable, str(KERNELS.with_name("compile_kernels.py"))],
        env=os.environ | {"TRITON_INTERPRET": "0"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["sm_90"] * 8


def test_without_triton_everything_runs(monkeypatch):
    monkeypatch.setattr("stsprune.selection.kernels.has_triton", lambda: False)
    assert "not installed" in describe()
    features = torch.randn(1, 20, 4, generator=torch.Generator().manual_seed(0))
    assert repulsion(features, cell_centres(4, 5), 20)[0].sort().values.tolist() == list(range(20))
