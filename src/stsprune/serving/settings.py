"""What is served: read from the environment, so that every process of a server reads the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stsprune.errors import InvalidArgumentError
from stsprune.selection.budget import check_budget, read_budget

BUDGET, POSITIONS, SEMANTICS, UNPRUNED = (
    "STSPRUNE_BUDGET",
    "STSPRUNE_POSITIONS",
    "STSPRUNE_SEMANTICS",
    "STSPRUNE_UNPRUNED",
)


@dataclass(frozen=True)
class Settings:
    """One setting for all requests of a server.

    budget: visual tokens per image, an int >= 1 (an upper bound, as `Method.budget` is) or a
    fraction in (0, 1] of the image's tokens;
    compact: count rotary positions over the kept tokens instead of keeping the original ones;
    semantics: choose by the prompt's text too, before the language model; unpruned: serve models
    without a pruning class as they are.
    """

    budget: int | float
    compact: bool = False
    semantics: bool = False
    unpruned: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "budget", check_budget(self.budget))

    def tag(self) -> str:
        """Tells caches of differently pruned images apart."""
        return f"stsprune-{self.budget}-{self.compact}-{self.semantics}"


def read_settings(environment: Mapping[str, str]) -> Settings | None:
    """The settings of a server, None where nothing asks for pruning.

    Raises InvalidArgumentError that names the variable, its value and what is allowed.
    """
    compact = _choice(environment, POSITIONS, ("original", "compact"))
    semantics = _choice(environment, SEMANTICS, ("off", "embedding"))
    unpruned = _choice(environment, UNPRUNED, ("0", "1"))
    text = environment.get(BUDGET, "").strip()
    if not text:
        if compact or semantics or unpruned:
            raise InvalidArgumentError(
                f"{BUDGET} must be set where {POSITIONS}, {SEMANTICS} or {UNPRUNED} is: nothing is "
                "pruned without it"
            )
        return None
    return Settings(read_budget(text, BUDGET), compact, semantics, unpruned)


def _choice(environment: Mapping[str, str], name: str, allowed: tuple[str, str]) -> bool:
    """Whether the variable holds the second of the two allowed values; the first is the default."""
    value = environment.get(name, "").strip().lower() or allowed[0]
    if value not in allowed:
        raise InvalidArgumentError(f"{name} must be {' or '.join(allowed)}, got {value!r}")
    return value == allowed[1]
