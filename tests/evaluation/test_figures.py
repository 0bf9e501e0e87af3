"""Figures of a kept set, on sets whose figures are known."""

from __future__ import annotations

import pytest
import torch

from stsprune.evaluation.figures import coverage_figures, score_entropy, structure_figures
from stsprune.selection import cell_centres, energy


def figures(features, kept, grid):
    found = structure_figures(features[None], torch.tensor([kept]), grid)
    return {name: float(value) for name, value in found.items()}


def test_rank_counts_independent_directions():
    basis = torch.eye(4)
    assert figures(basis, [0, 1, 2, 3], (2, 2))["rank"] == pytest.approx(4, abs=1e-4)
    assert figures(basis, [0, 2], (2, 2))["rank"] == pytest.approx(2, abs=1e-4)
    copies = torch.stack([basis[0]] * 4) * torch.tensor([1.0, 2, 3, 4])[:, None]
    assert figures(copies, [0, 1, 2, 3], (2, 2))["rank"] == pytest.approx(1, abs=1e-3)


def test_redundancy_is_the_nearest_neighbours_cosine():
    angle = torch.tensor([0.0, 60.0, 90.0]).deg2rad()
    points = torch.stack([angle.cos(), angle.sin()], -1)
    wanted = (0.5 + 2 * float(torch.tensor(30.0).deg2rad().cos())) / 3
    assert figures(points, [0, 1, 2], (1, 3))["redundancy"] == pytest.approx(wanted, abs=1e-5)
    assert figures(points, [0], (1, 3))["redundancy"] == 0


def test_hole_is_the_farthest_cell():
    """One corner of 3 x 4 cells kept: the other is 2 down and 3 across."""
    points = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    assert figures(points, [0], (3, 4))["hole"] == pytest.approx(13**0.5, abs=1e-4)
    assert figures(points, list(range(12)), (3, 4))["hole"] == pytest.approx(0, abs=1e-4)


def test_energy_is_the_mean_repulsion_of_a_pair():
    points = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    whole = energy(points[None], cell_centres(3, 4), torch.tensor([[1, 4, 9]]))
    wanted = float((whole / 3).log())
    assert figures(points, [1, 4, 9], (3, 4))["energy"] == pytest.approx(wanted, abs=1e-4)


def test_coverage():
    objects = [[{1, 2}, {7, 8, 9}]] * 3
    asked = [{1, 2}, {1, 2, 7, 8, 9}, set()]
    got = coverage_figures([{2, 5}] * 3, objects, asked)
    assert got == {
        "covered": [0.5, 0.5, 0.5],
        "recall": [0.5, 0.2, None],
        "found": [1.0, 0.0, None],
    }


def test_entropy_of_scores():
    scores = torch.tensor([[0.25, 0.25, 0.25, 0.25], [1.0, 0, 0, 0], [0.5, 0.5, 0, 0]])
    assert score_entropy(scores).tolist() == pytest.approx([1.0, 0.0, 0.5], abs=1e-6)
