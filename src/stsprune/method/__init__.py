"""Pruning methods, one file each. The registry holds classes, never instances."""

from stsprune.errors import InvalidArgumentError

from .ablations import (
    AttentionOnly,
    FeaturesOnly,
    PlacesOnly,
    SemanticsOnly,
    StructureOnly,
    Swapped,
    WithoutFilter,
    WithoutWithdrawal,
)
from .base import InstructionAttention, Method, Plan, VisualTokens
from .cdpruner import CDPruner
from .dart import Dart
from .dive import Dive
from .divprune import DivPrune
from .downsampling import Downsampling
from .encoder import EncoderStage
from .fastv import FastV
from .grid import Grid
from .hiprune import HiPrune
from .holov import HoloV
from .mmr import MMR
from .pyramiddrop import PyramidDrop
from .random import Random
from .scope import Scope
from .sieve import Sieve
from .sparsevlm import SparseVLM
from .sts import STS
from .tome import ToMe
from .vidcom2 import VidCom2
from .visionzip import VisionZip
from .vispruner import VisPruner

_REGISTRY: dict[str, type[Method]] = {
    "sts": STS,
    "random": Random,
    "grid": Grid,
    "fastv": FastV,
    "pyramiddrop": PyramidDrop,
    "sparsevlm": SparseVLM,
    "visionzip": VisionZip,
    "vispruner": VisPruner,
    "divprune": DivPrune,
    "dart": Dart,
    "cdpruner": CDPruner,
    "tome": ToMe,
    "downsampling": Downsampling,
    "scope": Scope,
    "holov": HoloV,
    "hiprune": HiPrune,
    "mmr": MMR,
    "sieve": Sieve,
    "dive": Dive,
    "vidcom2": VidCom2,
    "structure-only": StructureOnly,
    "semantics-only": SemanticsOnly,
    "attention-only": AttentionOnly,
    "no-filter": WithoutFilter,
    "no-withdrawal": WithoutWithdrawal,
    "space=0": FeaturesOnly,
    "space=1": PlacesOnly,
    "swapped": Swapped,
}


def methods() -> dict[str, type[Method]]:
    """Every method by its name.

    Returns:
        Name -> class; each is built with `budget=...`.
    """
    return dict(_REGISTRY)


def find_method(name: str, *also: str, rule: str = "method must be one of") -> type[Method]:
    """The class of that name.

    also: what else the option allows, rule: how it says so. Raises InvalidArgumentError.
    """
    if name not in _REGISTRY:
        allowed = ", ".join([*sorted(_REGISTRY), *also])
        raise InvalidArgumentError(f"{rule} {allowed}, got {name!r}")
    return _REGISTRY[name]


__all__ = [
    "STS",
    "EncoderStage",
    "InstructionAttention",
    "Method",
    "Plan",
    "Random",
    "VisualTokens",
    "find_method",
    "methods",
]
