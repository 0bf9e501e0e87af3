"""Run by test_paths.py with TRITON_INTERPRET=1: the kernels' own text, executed on the CPU."""

from __future__ import annotations

import pytest
import torch

from stsprune.selection import added_potentials, cell_centres
from stsprune.selection.attention import instruction_scores, peak_scores, query_weights
from stsprune.selection.distance import potentials
from stsprune.selection.kernels import interpreted
from stsprune.selection.kernels.attention import fused_scores
from stsprune.selection.kernels.repulsion import fused_greedy
from stsprune.selection.kernels.rows import fused_rows
from stsprune.selection.reference import added_reference, greedy_reference, most_isolated
from stsprune.selection.rows import Rows
from stsprune.selection.swaps import best_swaps


def table_of(features, positions, space=0.3, exponent=4.0):
    table, logarithm = potentials(features, positions, space, exponent, 1e-3)
    assert not logarithm
    table.diagonal(dim1=-2, dim2=-1).fill_(0.0)
    first = most_isolated(table, False)
    table.diagonal(dim1=-2, dim2=-1).fill_(torch.inf)
    return table, first


def test_the_interpreter_runs():
    assert interpreted()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("tokens", "keep"), [(1, 1), (2, 2), (37, 37), (64, 9), (300, 40)])
def test_greedy(tokens, keep, dtype):
    generator = torch.Generator().manual_seed(tokens)
    features = torch.randn(3, tokens, 8, generator=generator).to(dtype)
    features[:, tokens // 2 :] = features[:, : tokens - tokens // 2].clone()  # copies
    table, first = table_of(features, torch.rand(tokens, 2, generator=generator))
    expected = greedy_reference(table, first, keep, False)
    assert torch.equal(fused_greedy(table, first, keep), expected)


def test_potentials_along_the_kernel_s_order():
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(2, 64, 8, generator=generator)
    places = torch.rand(64, 2, generator=generator)
    table, first = table_of(features, places)
    order = fused_greedy(table, first, 30)
    expected = added_reference(table, greedy_reference(table, first, 30, False), False)
    torch.testing.assert_close(added_potentials(features, places, order), expected)


def test_ties_of_a_plain_picture():
    table, first = table_of(torch.ones(1, 144, 2), cell_centres(12, 12))
    assert torch.equal(fused_greedy(table, first, 144), greedy_reference(table, first, 144, False))


@pytest.mark.parametrize("tokens", [4096, 16384])
def test_many_tokens(tokens):
    """A table of which only the rows that are read are filled, and nothing else may be."""
    generator = torch.Generator().manual_seed(0)
    table = torch.full((1, tokens, tokens), torch.nan) if tokens < 16384 else None
    if table is None:  # 64-bit offsets without a gigabyte of values: pages untouched are free
        table = torch.empty(1, tokens, tokens)
    first = torch.tensor([tokens - 1])
    rows = torch.rand(3, tokens, generator=generator)
    potential, expected = rows[0].clone(), [tokens - 1]
    table[0, tokens - 1] = rows[0]
    table[0, tokens - 1, tokens - 1] = potential[tokens - 1] = torch.inf
    for row in rows[1:]:
        token = int(potential.argmin())
        expected.append(token)
        table[0, token] = row
        table[0, token, token] = torch.inf
        potential = potential + table[0, token]
    expected.append(int(potential.argmin()))
    table[0, expected[-1]] = 0.0
    assert fused_greedy(table, first, 4)[0].tolist() == expected


@pytest.mark.parametrize("rounds", [1, 2, 5])
@pytest.mark.parametrize("keep", [1, 2, 7])
def test_swaps(keep, rounds):
    generator = torch.Generator().manual_seed(keep)
    features = torch.randn(2, 33, 4, generator=generator)
    table, _ = table_of(features, torch.rand(33, 2, generator=generator))
    first = torch.tensor([5, 9])  # a poor first token leaves something to swap
    kept = greedy_reference(table, first, keep, False)
    expected = best_swaps(table, kept, rounds, False)
    assert keep == 1 or not torch.equal(expected, kept)
    assert torch.equal(fused_greedy(table, first, keep, rounds), expected)


def test_nan_stays_inside():
    table = torch.full((1, 5, 5), torch.nan)
    picked = fused_greedy(table, torch.tensor([0]), 5)
    assert ((picked >= 0) & (picked < 5)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("tokens", "keep", "exponent"), [(1, 1, 4.0), (37, 37, 2.0), (64, 9, 3.0), (200, 8, 4.0)]
)
def test_greedy_without_a_table(tokens, keep, exponent, dtype):
    generator = torch.Generator().manual_seed(tokens)
    features = torch.randn(1, tokens, 70, generator=generator).to(dtype)  # more than one chunk
    places = torch.rand(tokens, 3, generator=generator)
    table, first = table_of(features, places, exponent=exponent)
    rows = Rows(features[0], places, 0.3, exponent, 1e-3)
    expected = greedy_reference(table, first, keep, False)[0]
    assert torch.equal(fused_rows(rows, first, keep), expected)


def test_ties_without_a_table():
    """Copies in two blocks, and a plain picture: the lowest index goes first."""
    generator = torch.Generator().manual_seed(0)
    twice = torch.randn(1, 48, 5, generator=generator).repeat(1, 2, 1)
    for features, places in (
        (twice, torch.zeros(96, 2)),
        (torch.ones(1, 64, 2), cell_centres(8, 8)),
    ):
        table, first = table_of(features, places)
        picked = fused_rows(Rows(features[0], places, 0.3, 4.0, 1e-3), first, 48)
        assert torch.equal(picked, greedy_reference(table, first, 48, False)[0])


def test_nan_stays_inside_without_a_table():
    rows = Rows(torch.full((5, 2), torch.nan), torch.zeros(5, 2), 0.3, 4.0, 1e-3)
    picked = fused_rows(rows, torch.tensor([0]), 5)
    assert ((picked >= 0) & (picked < 5)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(
    ("heads", "kv_heads", "length", "tokens", "width"),
    [(4, 2, 1, 5, 16), (4, 4, 21, 130, 24), (6, 1, 16, 64, 32)],
)
def test_scores(heads, kv_heads, length, tokens, width, dtype):
    generator = torch.Generator().manual_seed(heads)
    shape = (2, length, heads, width)  # as attention modules hold them: heads behind tokens
    queries = torch.randn(shape, generator=generator).to(dtype).transpose(1, 2)
    keys = torch.randn(2, kv_heads, tokens, width, generator=generator).to(dtype)
    counts, scale = [length, max(1, length // 2)], width**-0.5 * 4
    for rule in ("all", "last"):
        weights = query_weights(counts, length, rule, torch.device("cpu"))
        torch.testing.assert_close(
            fused_scores(queries, keys, weights, scale, peak=False),
            instruction_scores(queries, keys, weights, scale),
        )
    real = (query_weights(counts, length, "all", torch.device("cpu")) > 0).float()
    torch.testing.assert_close(
        fused_scores(queries, keys, real, scale, peak=True),
        peak_scores(queries, keys, counts, scale),
    )
