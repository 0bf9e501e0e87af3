"""Make vision-language models faster by removing visual tokens, without training.

The names below are the public API; they load what they need on first use.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .calibration import calibrate
    from .checking import check
    from .embedded import load_embedded
    from .engine import prune, register_family
    from .errors import StsPruneError
    from .method import STS, EncoderStage, methods
    from .recipes import load_recipe
    from .selection import energy, repulsion

_HOMES = {
    "STS": "method",
    "EncoderStage": "method",
    "StsPruneError": "errors",
    "calibrate": "calibration",
    "check": "checking",
    "energy": "selection",
    "load_embedded": "embedded",
    "load_recipe": "recipes",
    "methods": "method",
    "prune": "engine",
    "register_family": "engine",
    "repulsion": "selection",
}

__all__ = [
    "STS",
    "EncoderStage",
    "StsPruneError",
    "__version__",
    "calibrate",
    "check",
    "energy",
    "load_embedded",
    "load_recipe",
    "methods",
    "prune",
    "register_family",
    "repulsion",
]

try:
    __version__ = version("stsprune")
except PackageNotFoundError:  # run from a source tree
    __version__ = "0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'stsprune' has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
