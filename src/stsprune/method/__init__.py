"""Pruning methods, one file each. The registry holds classes, never instances."""

from .base import InstructionAttention, Method, Plan, VisualTokens
from .random import Random
from .sts import STS

_REGISTRY: dict[str, type[Method]] = {"sts": STS, "random": Random}


def methods() -> dict[str, type[Method]]:
    """Name -> class of every method; each is built with `budget=...`."""
    return dict(_REGISTRY)


__all__ = [
    "STS",
    "InstructionAttention",
    "Method",
    "Plan",
    "Random",
    "VisualTokens",
    "methods",
]
