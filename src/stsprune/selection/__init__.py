"""Choosing tokens: pure tensor code that knows torch and no model."""

from .grid import cell_centres
from .repulsion import energy, repulsion

__all__ = ["cell_centres", "energy", "repulsion"]
