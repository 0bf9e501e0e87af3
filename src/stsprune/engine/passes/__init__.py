"""The forward passes of a pruned model, all with one face: `Pass`."""

from .base import Pass
from .decode import Decode
from .outside import CacheHome
from .prefill import Prefill
from .prompt import Prompt
from .requery import Requery

__all__ = ["CacheHome", "Decode", "Pass", "Prefill", "Prompt", "Requery"]
