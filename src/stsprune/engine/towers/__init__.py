"""Vision towers: what is known of them, the stage inside them, and its oracle."""

from .base import Grid, Order, Refill, Tower
from .costs import encoder_flops
from .stage import Encoded, TowerStage
from .table import READ_ONLY, TOWERS, check_call, tower_of
from .view import TowerView, Viewed

__all__ = [
    "READ_ONLY",
    "TOWERS",
    "Encoded",
    "Grid",
    "Order",
    "Refill",
    "Tower",
    "TowerStage",
    "TowerView",
    "Viewed",
    "check_call",
    "encoder_flops",
    "tower_of",
]
