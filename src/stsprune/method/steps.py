"""Steps of the search of `stsprune tune`: STS and its ablations share them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: Setting -> the values to try; a step of several settings is their full grid.
Step = Mapping[str, Sequence[Any]]

REPULSION: Step = {"space": (0.1, 0.3, 0.6, 0.9, 0.97), "exponent": (2.0, 4.0, 8.0)}
EXPONENTS: Step = {"exponent": (2.0, 4.0, 8.0)}
FILTER: Step = {"layer": (1, 2, 3, 5), "ratio": (1.125, 1.25, 1.5, 1.625, 2.0)}
FALLS: Step = {"steps": (1, 2, 3)}
QUERY: Step = {"queries": ("peak", "last", "all")}
WITHDRAWAL: Step = {"withdraw": (None, 0.5, 0.625, 0.75)}
