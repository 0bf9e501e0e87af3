"""Counts that follow the picture: the stop at mu minimises E(S) - mu |S| along the order."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stsprune.errors import InvalidArgumentError, InvalidTypeError
from stsprune.selection import added_potentials, cell_centres, counts_below, energy, repulsion
from stsprune.selection.adaptive import count
from stsprune.selection.distance import potentials
from stsprune.selection.reference import added_reference, greedy_reference, most_isolated

INF = math.inf


def cloud(seed, tokens, copies=False, batch=2):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, tokens, 6, generator=generator)
    if copies:  # ties everywhere
        features = features[:, torch.randint(tokens, (tokens,), generator=generator) // 3]
    return features, cell_centres(1, tokens)


def reference(features, positions, keep, space=0.3, exponent=4.0):
    """(order, log U_k) of the readable loops on one table."""
    table, logarithm = potentials(features, positions, space, exponent, 1e-3)
    table.diagonal(dim1=-2, dim2=-1).fill_(-INF if logarithm else 0.0)
    first = most_isolated(table, logarithm)
    table.diagonal(dim1=-2, dim2=-1).fill_(INF)
    order = greedy_reference(table, first, keep, logarithm)
    return order, added_reference(table, order, logarithm)


clouds = st.builds(
    cloud, st.integers(0, 2**31 - 1), st.sampled_from([2, 17, 40, 300]), st.booleans()
)


@given(clouds, st.sampled_from([0.0, 0.3, 1.0]), st.sampled_from([0.5, 4.0, 40.0]))
@settings(max_examples=40, deadline=None)
def test_equals_the_reference(picture, space, exponent):
    features, positions = picture
    keep = min(40, features.shape[1])
    order, expected = reference(features.double(), positions, keep, space, exponent)
    options = {"space": space, "exponent": exponent}
    got = added_potentials(features.double(), positions, order, **options)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)


@given(clouds)
@settings(max_examples=30, deadline=None)
def test_they_add_up_to_the_energy_and_never_fall(picture):
    features, positions = picture
    order = repulsion(features, positions, min(30, features.shape[1]))
    added = added_potentials(features, positions, order)
    assert (added[:, 0] == -INF).all()
    total = energy(features, positions, order, log=True)
    torch.testing.assert_close(added.logsumexp(1), total, rtol=1e-4, atol=1e-4)
    assert (added.diff(dim=1)[:, 1:] > -1e-3).all()
    half = added_potentials(features, positions, order[:, : order.shape[1] // 2 + 1])
    torch.testing.assert_close(half, added[:, : half.shape[1]], rtol=1e-4, atol=1e-4)


@given(clouds, st.floats(0.01, 30), st.floats(0.01, 30), st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_nested_and_monotone(picture, mu, other, most):
    features, positions = picture
    most = min(most, features.shape[1])
    low, high = sorted((mu, other))
    few, many = (counts_below(features, positions, each, most) for each in (low, high))
    assert (few >= 1).all()
    assert (few <= many).all()
    assert (many <= most).all()
    whole = counts_below(features, positions, low, features.shape[1])
    assert torch.equal(few, whole.clamp_max(most))  # the cap cuts, it changes nothing else


@given(clouds, st.floats(1, 12))
@settings(max_examples=30, deadline=None)
def test_the_stop_is_the_minimum_along_the_order(picture, mu):
    features, positions = (part.double() for part in picture)
    order = repulsion(features, positions, min(40, features.shape[1]))
    kept = counts_below(features, positions, mu, order.shape[1])
    for image in range(len(features)):
        grand = [
            float(energy(features, positions, order[:, :size])[image]) - math.exp(mu) * size
            for size in range(1, order.shape[1] + 1)
        ]
        best = min(grand)
        assert grand[int(kept[image]) - 1] <= best + 1e-6 * max(1.0, abs(best))


def test_one_at_the_least_all_at_the_most():
    features, positions = cloud(0, 40)
    assert counts_below(features, positions, 1e-9, 40).tolist() == [1, 1]
    assert counts_below(features, positions, 1e9, 40).tolist() == [40, 40]
    assert counts_below(features[:, :1], positions[:1], 5.0, 1).tolist() == [1, 1]


def test_a_potential_of_exactly_mu_is_not_below():
    added = torch.tensor([[-INF, 2.0, 3.0, 3.0, 4.0], [-INF, 3.0, 2.9, 2.8, 2.7]])
    assert count(added, 3.0).tolist() == [2, 1]  # behind the first stop nothing counts
    assert count(added, 3.5).tolist() == [4, 5]


def test_copies_wait_for_a_high_potential():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1, 8, 16, generator=generator).repeat(1, 4, 1)
    nowhere = torch.zeros(32, 2)
    assert counts_below(features, nowhere, 20.0, 32).tolist() == [8]
    phi = -4 * math.log(1e-3)
    assert counts_below(features, nowhere, phi + 0.1, 32).tolist() == [16]


def test_plain_pictures_get_fewer():
    rich = torch.randn(1, 144, 16, generator=torch.Generator().manual_seed(0))
    both = torch.cat((torch.ones_like(rich), rich))
    plain, many = counts_below(both, cell_centres(12, 12), 7.0, 144).tolist()
    assert 1 < plain < many < 144


def picture(side):
    """The same smooth picture on any grid: [1, side * side, 4]."""
    x, y = cell_centres(side, side).unbind(-1)
    waves = [(6 * x).sin(), (7 * y).cos(), (5 * (x + y)).sin(), (4 * (x - y)).cos()]
    return torch.stack(waves, dim=-1)[None]


def test_the_scale_depends_neither_on_n_nor_on_dim():
    counted = [
        int(counts_below(picture(side), cell_centres(side, side), 7.0, 100))
        for side in (16, 32, 64)
    ]
    assert min(counted) > 10
    # Sixteen times the tokens: finer cells pack a little better, nothing else changes.
    assert max(counted) / min(counted) < 1.25
    wide = torch.linalg.qr(torch.randn(96, 96, generator=torch.Generator().manual_seed(1)))[0]
    features, cells = picture(16), cell_centres(16, 16)
    order = repulsion(features, cells, 40)
    narrow = added_potentials(features, cells, order)
    turned = added_potentials(300 * features @ wide[:4], cells, order)
    torch.testing.assert_close(turned, narrow, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_number_formats_and_positions_of_each_image(dtype):
    features, positions = cloud(0, 60)
    features = features.to(dtype)
    each = torch.stack((positions, positions.flip(0)))
    order = repulsion(features, each, 20)
    expected = [
        added_potentials(features[i : i + 1].float(), each[i], order[i])[0] for i in range(2)
    ]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = added_potentials(features, each, order)
    torch.testing.assert_close(got, torch.stack(expected))


@pytest.mark.parametrize("potential", [0, -1.0, INF, math.nan, np.float32(0)], ids=str)
def test_values_that_are_refused(potential):
    with pytest.raises(InvalidArgumentError, match="potential must be a finite number > 0"):
        counts_below(*cloud(0, 9), potential, 4)


@pytest.mark.parametrize("potential", [True, "7", None, torch.tensor(7.0)], ids=str)
def test_types_that_are_refused(potential):
    with pytest.raises(InvalidTypeError, match="potential must be a finite number > 0"):
        counts_below(*cloud(0, 9), potential, 4)


def test_other_arguments_are_checked():
    features, positions = cloud(0, 9)
    with pytest.raises(InvalidArgumentError, match=r"keep must be an int in 1..9, got 10"):
        counts_below(features, positions, 5.0, 10)
    with pytest.raises(InvalidArgumentError, match="kept must hold indices"):
        added_potentials(features, positions, torch.tensor([9]))
    with pytest.raises(InvalidArgumentError, match="space must be"):
        counts_below(features, positions, 5.0, 3, space=2)
