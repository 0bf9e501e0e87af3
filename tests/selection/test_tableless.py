"""Repulsion without a table chooses what the reference chooses from one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import stsprune
from stsprune.method import STS
from stsprune.method.base import VisualTokens
from stsprune.selection import cell_centres, repulsion, tableless
from stsprune.selection.distance import ALIKE, cuts, potentials
from stsprune.selection.reference import greedy_reference, most_isolated
from stsprune.selection.repulsion import sample
from stsprune.selection.rows import Rows
from stsprune.selection.swaps import best_swaps
from stsprune.selection.tableless import needs_no_table, sample_rows


def reference(features, positions, keep, space=0.3, exponent=4.0, refine=0):
    """The readable loops on a table."""
    table, logarithm = potentials(features, positions, space, exponent, 1e-3)
    table.diagonal(dim1=-2, dim2=-1).fill_(-torch.inf if logarithm else 0.0)
    first = most_isolated(table, logarithm)
    table.diagonal(dim1=-2, dim2=-1).fill_(torch.inf)
    kept = greedy_reference(table, first, keep, logarithm)
    return best_swaps(table, kept, refine, logarithm)


def rows(features, positions, keep, space=0.3, exponent=4.0, refine=0):
    return sample_rows(features, positions, keep, space, exponent, 1e-3, None, refine)


def cloud(tokens, width=8, batch=1, axes=2):
    generator = torch.Generator().manual_seed(tokens)
    features = torch.randn(batch, tokens, width, generator=generator)
    return features, torch.rand(tokens, axes, generator=generator)


@pytest.mark.parametrize(
    ("tokens", "keep"),
    [(1, 1), (5, 5), (17, 17), (100, 1), (255, 40), (256, 40), (385, 385), (577, 64), (3841, 30)],
)
def test_equals_the_reference(tokens, keep):
    features, positions = cloud(tokens, width=24, axes=3)
    assert torch.equal(rows(features, positions, keep), reference(features, positions, keep))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("tokens", [60, 300])
def test_batches_and_number_formats(tokens, dtype):
    features, positions = cloud(tokens, batch=3)
    features = features.to(dtype)
    each = torch.stack((positions, positions.flip(0), positions.flip(1)))
    for where in (positions, each):
        assert torch.equal(rows(features, where, 40), reference(features, where, 40))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = rows(features, positions, 40)
    assert torch.equal(inside, reference(features, positions, 40))


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_sizes_of_features(scale):
    features, positions = cloud(300)
    features[:, ::3] *= scale
    features[:, 7] = 0
    assert torch.equal(rows(features, positions, 300), reference(features, positions, 300))


@pytest.mark.parametrize("side", [8, 24])
def test_ties_of_a_plain_picture(side):
    features, cells = torch.ones(1, side * side, 3), cell_centres(side, side)
    keep = side * side // 2
    assert torch.equal(rows(features, cells, keep), reference(features, cells, keep))
    nowhere = torch.zeros(side * side, 2)
    assert rows(features, nowhere, keep)[0].tolist() == list(range(keep))


@given(
    st.integers(0, 2**31 - 1),
    st.sampled_from([2, 15, 16, 40, 260, 400]),
    st.booleans(),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.sampled_from([0.5, 2.0, 3.0, 4.0, 40.0]),
    st.sampled_from([0, 0, 2]),
)
@settings(max_examples=40, deadline=None)
def test_any_image(seed, tokens, copies, space, exponent, refine):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, tokens, 6, generator=generator)
    if copies:  # ties everywhere
        features = features[:, torch.randint(tokens, (tokens,), generator=generator) // 3]
    arguments = (features, cell_centres(1, tokens), min(tokens, 30), space, exponent, refine)
    assert torch.equal(rows(*arguments), reference(*arguments))


@pytest.mark.parametrize("exponent", [4.0, 40.0])
@pytest.mark.parametrize("keep", [1, 3, 40])
def test_swaps_a_few_columns_at_a_time(keep, exponent, monkeypatch):
    monkeypatch.setattr("stsprune.selection.rows.ENTRIES", 2000)
    features, positions = cloud(500, batch=2)
    first = torch.tensor([250, 499])  # a poor first token leaves something to swap
    arguments = (features, positions, keep, 0.3, exponent, 1e-3, first)
    plain, swapped = (sample_rows(*arguments, refine) for refine in (0, 3))
    assert keep == 1 or not torch.equal(plain, swapped)
    assert torch.equal(swapped, sample(*arguments, 3))


@pytest.mark.parametrize("tokens", [255, 256, 257, 576, 3841, 4099])
def test_rows_are_the_tables_own(tokens):
    """In blocks and in pieces, to the last bit; no block is too small to round as the others."""
    assert len(cuts(tokens)) == 1 or min(end - start for start, end in cuts(tokens)) >= ALIKE
    features, positions = cloud(tokens, width=70)
    table, _ = potentials(features, positions, 0.3, 4.0, 1e-3)
    made = Rows(features[0], positions, 0.3, 4.0, 1e-3)
    for begin, block in made.blocks():
        assert torch.equal(block, table[0, begin : begin + len(block)])
    index = torch.tensor([0, tokens - 1, tokens // 2])
    piece = made.piece(index, 20, tokens)
    assert torch.equal(piece, table[0, index, 20:])


def test_the_choice(monkeypatch):
    def features(tokens, width, dtype=torch.float32):
        return torch.empty(1, tokens, width, dtype=dtype, device="meta")

    def narrow(tokens, width=64):
        return torch.empty(1, 1, 1).expand(1, tokens, width)

    assert not needs_no_table(narrow(4096))
    assert needs_no_table(narrow(4097))
    assert not needs_no_table(narrow(8192, 1024))
    assert needs_no_table(narrow(8193, 1024))
    assert not needs_no_table(features(8192, 64))  # another device: by size alone
    assert needs_no_table(features(8193, 64, torch.bfloat16))
    assert needs_no_table(features(6000, 64, torch.float64))

    called = []
    module = sys.modules[sample.__module__]  # the package's `repulsion` is the function
    monkeypatch.setattr(module, "sample_rows", lambda *a: called.append(a) or sample_rows(*a))
    few, positions = cloud(40)
    expected = repulsion(few, positions, 9, refine=1)
    assert not called
    monkeypatch.setattr(tableless, "FASTER", 0)
    assert torch.equal(repulsion(few, positions, 9, refine=1), expected)
    visual = VisualTokens(few, positions, (5, 8), (0,))
    assert torch.equal(STS(budget=9).select(visual, 9), repulsion(few, positions, 9))
    assert len(called) == 3


def test_memory_stays_below_a_table():
    """A table of 8,192 tokens has 256 MiB; a process of its own sees what is above the input."""
    code = """
import resource, torch
from stsprune.method import STS
from stsprune.method.base import VisualTokens
from stsprune.selection import repulsion
features, positions = torch.randn(1, 8192, 64), torch.rand(8192, 3)
repulsion(features[:, :300], positions[:300], 20, refine=1)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
STS(budget=64).select(VisualTokens(features, positions, (8, 32, 32), (0,)), 64)
repulsion(features, positions, 64, seed=0, refine=1)
print(peak() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(Path(stsprune.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < 100 * 2**20
