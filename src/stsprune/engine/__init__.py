"""Pruning inside unmodified transformers models, and the masked run that proves it exact."""

from .cache import PrunedCache, cache_bytes
from .prune import prune
from .trace import ImageTrace, Stage, Trace

__all__ = ["ImageTrace", "PrunedCache", "Stage", "Trace", "cache_bytes", "prune"]
