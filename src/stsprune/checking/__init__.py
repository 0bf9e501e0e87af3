"""`stsprune.check`: is pruning exact on this model, in this dtype, on this machine?"""

from .checker import check
from .result import Check, Finding, Pace, PromptCheck, Setting

__all__ = ["Check", "Finding", "Pace", "PromptCheck", "Setting", "check"]
