"""Pruning inside unmodified transformers models, and the masked run that proves it exact."""

from .cache import PrunedCache, cache_bytes
from .prune import prune
from .register import register_family
from .trace import ImageTrace, Stage, Trace
from .visual import Plane, Visual

__all__ = [
    "ImageTrace",
    "Plane",
    "PrunedCache",
    "Stage",
    "Trace",
    "Visual",
    "cache_bytes",
    "prune",
    "register_family",
]
