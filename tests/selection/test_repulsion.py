"""Properties of repulsion and energy, as the definitions in their docstrings promise them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import stsprune
from stsprune.errors import InvalidArgumentError, InvalidTypeError, StsPruneError
from stsprune.selection import cell_centres, energy, repulsion
from stsprune.selection.distance import squared_distances

seeds = st.integers(0, 2**31 - 1)


def cloud(seed: int, tokens: int = 30, dim: int = 8, batch: int = 1):
    """Random features [batch, tokens, dim] and positions [tokens, 2]."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, tokens, dim, generator=generator)
    return features, torch.rand(tokens, 2, generator=generator)


def log_phi_by_hand(features, positions, space, exponent, eps) -> torch.Tensor:
    """The definition, pair by pair and in float64, for one image."""
    unit = torch.nn.functional.normalize(features.double(), dim=-1)
    tokens = len(unit)
    table = torch.full((tokens, tokens), -math.inf, dtype=torch.float64)
    for i, j in itertools.permutations(range(tokens), 2):
        d_f = (unit[i] - unit[j]).norm() / 2
        d_p = (positions[i].double() - positions[j].double()).norm() / math.sqrt(2)
        squared = (1 - space) * d_f**2 + space * d_p**2
        table[i, j] = -exponent / 2 * torch.log(squared + eps**2)
    return table


def greedy_by_hand(log_phi: torch.Tensor, keep: int) -> list[int]:
    phi = log_phi.exp()
    kept = [int(phi.sum(1).argmin())]
    while len(kept) < keep:
        left = [i for i in range(len(phi)) if i not in kept]
        kept.append(min(left, key=lambda i: float(phi[i, kept].sum())))
    return kept


# --- the definition -------------------------------------------------------------------------


@pytest.mark.parametrize("space", [0.0, 0.1, 0.6, 1.0])
@pytest.mark.parametrize("exponent", [1.0, 2.0, 4.0])
def test_equals_the_definition_written_out(space, exponent):
    features, positions = cloud(7, tokens=14)
    table = log_phi_by_hand(features[0], positions, space, exponent, 1e-3)
    picked = repulsion(features, positions, 6, space=space, exponent=exponent)
    assert picked.tolist() == [greedy_by_hand(table, 6)]
    pairs = list(itertools.combinations(picked[0].tolist(), 2))
    by_hand = sum(table[i, j].exp() for i, j in pairs)
    ours = energy(features, positions, picked, space=space, exponent=exponent)
    torch.testing.assert_close(ours, by_hand[None].float(), rtol=1e-4, atol=0)


def test_distances_lie_between_zero_and_one():
    features = torch.tensor([[[1.0, 0.0], [-2.0, 0.0], [0.0, 0.0]]])
    corners = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    feature = squared_distances(features, corners, 0.0)[0]
    torch.testing.assert_close(feature[0], torch.tensor([0.0, 1.0, 0.25]))
    place = squared_distances(features, corners, 1.0)[0]
    torch.testing.assert_close(place[0], torch.tensor([0.0, 1.0, 0.5]))


def test_public_names():
    assert stsprune.repulsion is repulsion
    assert stsprune.energy is energy


# --- properties -----------------------------------------------------------------------------


@given(seeds, st.integers(1, 29), st.sampled_from([0.0, 0.1, 1.0]))
@settings(max_examples=40, deadline=None)
def test_nested(seed, keep, space):
    features, positions = cloud(seed)
    longest = repulsion(features, positions, 30, space=space)
    assert sorted(longest[0].tolist()) == list(range(30))
    assert torch.equal(repulsion(features, positions, keep, space=space), longest[:, :keep])


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_permuted_tokens_give_the_permuted_choice(seed):
    features, positions = cloud(seed)
    # float64, so that no rounding of the product decides between two tokens
    features, positions = features.double(), positions.double()
    order = torch.randperm(30, generator=torch.Generator().manual_seed(seed))
    straight = repulsion(features, positions, 12)
    permuted = repulsion(features[:, order], positions[order], 12)
    assert torch.equal(order[permuted], straight)


@given(seeds, st.integers(2, 12), st.integers(1, 12), st.sampled_from([1.0, 2.0, 8.0]))
@settings(max_examples=60, deadline=None)
def test_no_copy_while_a_distinct_token_is_left(seed, distinct, extra, exponent):
    features, positions = cloud(seed, tokens=distinct)
    generator = torch.Generator().manual_seed(seed)
    source = torch.cat(
        (torch.arange(distinct), torch.randint(distinct, (extra,), generator=generator))
    )[torch.randperm(distinct + extra, generator=generator)]
    picked = repulsion(features[:, source], positions[source], distinct, exponent=exponent)
    assert sorted(source[picked[0]].tolist()) == list(range(distinct))


def test_greedy_energy_is_near_the_optimum():
    kernel = {"space": 0.1, "exponent": 2.0}
    excess = []
    for seed in range(120):
        tokens, keep = 6 + seed % 7, 2 + seed % 4
        features, positions = cloud(seed, tokens=tokens, dim=2 + seed % 15)
        subsets = torch.tensor(list(itertools.combinations(range(tokens), keep)))
        all_energies = energy(features.expand(len(subsets), -1, -1), positions, subsets, **kernel)
        greedy = energy(
            features, positions, repulsion(features, positions, keep, **kernel), **kernel
        )
        excess.append(float(greedy / all_energies.min()) - 1)
        assert greedy <= all_energies.mean()
    assert min(excess) >= -1e-5
    assert sum(excess) / len(excess) < 0.06


def test_space_alone_spreads_like_a_lattice():
    positions = cell_centres(24, 24)
    features = torch.randn(1, 576, 4, generator=torch.Generator().manual_seed(0))
    picked = repulsion(features, positions, 64, space=1.0, exponent=4.0)[0]
    closest = torch.pdist(positions[picked]).min()
    assert closest >= 0.7 * (1 / 8)


def farthest_points(features, positions, keep, first) -> list[int]:
    squared = squared_distances(features.double(), positions, 0.0)[0]
    kept, nearest = [first], squared[first].clone()
    for _ in range(keep - 1):
        nearest[kept] = -1
        kept.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, squared[kept[-1]])
    return kept


@given(seeds, st.integers(0, 29))
@settings(max_examples=30, deadline=None)
def test_large_exponent_is_farthest_point_selection(seed, first):
    features, positions = cloud(seed)
    picked = repulsion(features.double(), positions, 10, space=0.0, exponent=1e6, seed=first)
    assert picked[0].tolist() == farthest_points(features, positions, 10, first)


@given(seeds, st.integers(2, 10))
@settings(max_examples=25, deadline=None)
def test_swaps_never_raise_the_energy(seed, keep):
    features, positions = cloud(seed, tokens=16)
    last = energy(features, positions, repulsion(features, positions, keep))
    for rounds in (1, 2, 4):
        refined = repulsion(features, positions, keep, refine=rounds)
        assert len(set(refined[0].tolist())) == keep
        value = energy(features, positions, refined)
        assert value <= last * (1 + 1e-5)
        last = value


def test_swaps_end_where_no_single_swap_helps():
    features, positions = cloud(3, tokens=14)
    refined = repulsion(features, positions, 5, refine=50)
    best = energy(features, positions, refined)
    for place, token in itertools.product(range(5), set(range(14)) - set(refined[0].tolist())):
        swapped = refined.clone()
        swapped[0, place] = token
        assert energy(features, positions, swapped) >= best * (1 - 1e-4)


# --- batches, seeds, ties, number formats ---------------------------------------------------


def test_batch_equals_each_image_alone():
    features, positions = cloud(1, batch=3)
    shifted = torch.stack((positions, positions.flip(0), positions.flip(1)))
    together = repulsion(features, shifted, 9)
    energies = energy(features, shifted, together)
    for i in range(3):
        alone = repulsion(features[i : i + 1], shifted[i], 9)
        assert torch.equal(together[i : i + 1], alone)
        torch.testing.assert_close(
            energies[i : i + 1], energy(features[i : i + 1], shifted[i], alone)
        )


def test_seed_is_the_first_token():
    features, positions = cloud(1, batch=2)
    assert repulsion(features, positions, 5, seed=3)[:, 0].tolist() == [3, 3]
    each = repulsion(features, positions, 5, seed=torch.tensor([3, 8]))
    assert each[:, 0].tolist() == [3, 8]
    assert torch.equal(each[0], repulsion(features, positions, 5, seed=3)[0])


def test_ties_go_to_the_lowest_index():
    assert (
        repulsion(torch.ones(2, 6, 3), torch.full((6, 2), 0.5), 6).tolist() == [list(range(6))] * 2
    )
    corners = repulsion(torch.ones(1, 9, 3), cell_centres(3, 3), 4, space=1.0)
    assert corners.tolist() == [[0, 8, 2, 6]]


@pytest.mark.parametrize("exponent", [0.5, 2.0, 50.0, 200.0, 1000.0])
def test_no_exponent_overflows(exponent):
    features, positions = cloud(2)
    features[:, 5] = features[:, 4]
    positions[5] = positions[4]
    picked = repulsion(features, positions, 29, exponent=exponent, refine=2)
    assert len(set(picked[0].tolist())) == 29
    value = energy(features, positions, torch.arange(30), exponent=exponent, log=True)
    assert torch.isfinite(value).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    features, positions = cloud(4)
    half = features.to(dtype)
    picked = repulsion(half, positions, 10)
    assert torch.equal(picked, repulsion(half.float(), positions, 10))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(repulsion(features, positions, 10), repulsion(features, positions, 10))
        inside = repulsion(features, positions, 10)
    assert torch.equal(inside, repulsion(features, positions, 10))
    assert energy(half, positions, picked).dtype == torch.float32


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scale_of_features_does_not_matter(scale):
    features, positions = cloud(4)
    assert torch.equal(
        repulsion(features * scale, positions, 10), repulsion(features, positions, 10)
    )


def test_zero_features_give_no_nan():
    features, positions = cloud(4)
    features[:, ::3] = 0
    picked = repulsion(features, positions, 30)
    assert sorted(picked[0].tolist()) == list(range(30))
    assert torch.isfinite(energy(features, positions, picked)).all()


def test_one_token_has_no_energy():
    features, positions = cloud(4)
    assert energy(features, positions, torch.tensor([3])).tolist() == [0.0]
    assert repulsion(features[:, :1], positions[:1], 1).tolist() == [[0]]


def test_inputs_stay_as_they_were_and_no_gradient_flows():
    features, positions = cloud(4)
    features.requires_grad_()
    before = features.detach().clone()
    assert not energy(features, positions, repulsion(features, positions, 5)).requires_grad
    assert torch.equal(features.detach(), before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_equals_cpu():
    features, positions = cloud(4, batch=2, tokens=144, dim=64)
    on_device = repulsion(features.cuda().double(), positions.cuda(), 40)
    assert torch.equal(on_device.cpu(), repulsion(features.double(), positions, 40))


# --- bad input ------------------------------------------------------------------------------

FEATURES, POSITIONS = cloud(0, tokens=5)


def test_numpy_integers():
    assert torch.equal(
        repulsion(FEATURES, POSITIONS, np.int64(3)), repulsion(FEATURES, POSITIONS, 3)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": FEATURES[0]}, r"features must be floating point \[B, N, Dim\]"),
        ({"features": FEATURES.long()}, "features must be floating point"),
        ({"features": FEATURES[:, :0]}, "none of them 0"),
        ({"features": FEATURES * math.nan}, "features must be finite"),
        ({"positions": POSITIONS[:4]}, r"positions must be \[5, 2\] or \[1, 5, 2\].*\[4, 2\]"),
        ({"positions": POSITIONS + 1}, r"positions must lie in \[0, 1\]"),
        ({"keep": 0}, r"keep must be an int in 1\.\.5, got 0"),
        ({"keep": 6}, r"keep must be an int in 1\.\.5, got 6"),
        ({"keep": 2.0}, "keep must be an int"),
        ({"keep": True}, "keep must be an int"),
        ({"keep": np.bool_(True)}, "keep must be an int"),
        ({"keep": "2"}, "keep must be an int"),
        ({"keep": torch.tensor(2)}, "keep must be an int"),
        ({"keep": np.int64(6)}, "keep must be an int"),
        ({"space": 1.5}, r"space must be in \[0, 1\], got 1.5"),
        ({"space": math.nan}, "space must be"),
        ({"exponent": 0}, "exponent must be a finite number > 0, got 0"),
        ({"exponent": math.inf}, "exponent must be"),
        ({"eps": 0.0}, "eps must be in"),
        ({"refine": -1}, "refine must be an int >= 0"),
        ({"seed": 5}, r"seed must hold indices in 0\.\.4, got 5"),
        ({"seed": torch.tensor([0, 1])}, "seed must be None, an int or"),
        ({"seed": 0.5}, "seed must be None, an int or"),
    ],
)
def test_bad_arguments_are_named(change, message):
    arguments = {"features": FEATURES, "positions": POSITIONS, "keep": 2} | change
    with pytest.raises(InvalidArgumentError, match=message) as caught:
        repulsion(**arguments)
    assert isinstance(caught.value, StsPruneError)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        (torch.tensor([0, 5]), r"kept must hold indices in 0\.\.4, got 5"),
        (torch.tensor([[-1, 2]]), "got -1"),
        (torch.tensor([[0.0]]), "kept must be an integer tensor"),
        (torch.zeros(2, 3, dtype=torch.long), r"\[1, K\]"),
    ],
)
def test_bad_kept_sets_are_named(kept, message):
    with pytest.raises(InvalidArgumentError, match=message):
        energy(FEATURES, POSITIONS, kept)


def test_arguments_that_are_no_tensors_are_named():
    with pytest.raises(InvalidTypeError, match=r"features must be a torch.Tensor, got list"):
        repulsion(FEATURES.tolist(), POSITIONS, 2)
    with pytest.raises(InvalidTypeError, match=r"kept must be a torch.Tensor, got list"):
        energy(FEATURES, POSITIONS, [0, 1])
