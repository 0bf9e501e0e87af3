"""Intervals and tests for answers that come in pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000


def bootstrap_interval(
    values: Sequence[float],
    clusters: Sequence[int],
    groups: Sequence[Sequence[int]],
    seed: int = 0,
) -> tuple[float, float]:
    """95 % percentile interval of the mean over groups of each group's mean.

    clusters: of each value; whole clusters are drawn again and again, because questions about one
    picture are not independent of each other. groups: indices of the values in each.
    """
    number = np.unique(np.asarray(clusters), return_inverse=True)[1]
    count = int(number.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(count, [1 / count] * count, RESAMPLES)
    wide = np.asarray(values, dtype=float)
    means = []
    for group in groups:
        mine = number[list(group)]
        sums = drawn @ np.bincount(mine, weights=wide[list(group)], minlength=count)
        sizes = drawn @ np.bincount(mine, minlength=count)
        means.append(np.where(sizes > 0, sums / np.maximum(sizes, 1), np.nan))
    low, high = np.nanquantile(np.nanmean(means, axis=0), (0.025, 0.975))
    return float(low), float(high)


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> tuple[int, int, float]:
    """Exact McNemar test (1947) of two answers to each question.

    Returns (only the first is right, only the second is right, two-sided p).
    """
    wins = sum(a and not b for a, b in zip(first, second, strict=True))
    losses = sum(b and not a for a, b in zip(first, second, strict=True))
    different = wins + losses
    fewer = min(wins, losses)
    tail = sum(math.comb(different, k) for k in range(fewer + 1))
    # Whole numbers until the last division: 2 ** -1100 is no float.
    return wins, losses, min(1.0, 2 * tail / 2**different)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) correction for several tests, in the order given."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = highest
    return adjusted
