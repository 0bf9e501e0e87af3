"""Choosing tokens: pure tensor code that knows torch and no model."""

from .adaptive import added_potentials, counts_below
from .grid import cell_centres
from .repulsion import energy, repulsion

__all__ = ["added_potentials", "cell_centres", "counts_below", "energy", "repulsion"]
