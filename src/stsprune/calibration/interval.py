"""The exact interval of a share (Clopper and Pearson, 1934)."""

from __future__ import annotations

import math

LEVEL = 0.95


def exact_interval(hits: int, of: int, level: float = LEVEL) -> tuple[float, float]:
    """(low, high) of the share behind `hits` in `of` independent trials; of >= 1."""
    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else _solve(lambda p: _at_least(hits, of, p) < tail)
    high = 1.0 if hits == of else _solve(lambda p: 1 - _at_least(hits + 1, of, p) > tail)
    return low, high


def _solve(below: object) -> float:
    """The share in [0, 1] up to which `below` holds."""
    assert callable(below)
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return (low + high) / 2


def _at_least(hits: int, of: int, share: float) -> float:
    """Probability of `hits` or more."""
    if share in (0.0, 1.0):
        return float(share == 1.0 or hits == 0)
    chosen = math.lgamma(of + 1)
    terms = (
        chosen
        - math.lgamma(k + 1)
        - math.lgamma(of - k + 1)
        + k * math.log(share)
        + (of - k) * math.log1p(-share)
        for k in range(hits, of + 1)
    )
    return min(1.0, math.fsum(map(math.exp, terms)))
