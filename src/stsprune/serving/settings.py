"""What is served: read from the environment, so that every process of a server reads the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stsprune.errors import InvalidArgumentError
from stsprune.method import STS
from stsprune.method.ablations import StructureOnly
from stsprune.recipes import Recipe, read_recipe
from stsprune.selection.budget import check_budget, read_budget
from stsprune.selection.repulsion import EPS, EXPONENT, SPACE

BUDGET, POSITIONS, UNPRUNED, RECIPE, MODEL = (
    "STSPRUNE_BUDGET",
    "STSPRUNE_POSITIONS",
    "STSPRUNE_UNPRUNED",
    "STSPRUNE_RECIPE",
    "STSPRUNE_RECIPE_MODEL",
)


@dataclass(frozen=True)
class ServingSettings:
    """One setting for all requests of a server.

    budget: visual tokens per image, an int >= 1 (an upper bound, as `Method.budget` is) or a
    fraction in (0, 1] of the image's tokens;
    compact: count rotary positions over the kept tokens instead of keeping the original ones;
    unpruned: serve models without a pruning class as they are; space, exponent, eps: of the
    repulsion; architecture: the only one that a recipe allows, None = any; recipe: its file, what
    was left out of it is said at the start.
    """

    budget: int | float
    compact: bool = False
    unpruned: bool = False
    space: float = SPACE
    exponent: float = EXPONENT
    eps: float = EPS
    architecture: str | None = None
    recipe: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "budget", check_budget(self.budget))

    def tag(self, budget: int | float | None = None) -> str:
        """Tells caches of differently pruned images apart; budget: of the request, if not ours."""
        repulsion = (self.space, self.exponent, self.eps)
        suffix = "" if repulsion == (SPACE, EXPONENT, EPS) else f"-{repulsion}"
        return f"stsprune-{self.budget if budget is None else budget}-{self.compact}{suffix}"


def read_settings(environment: Mapping[str, str]) -> ServingSettings | None:
    """The settings of a server, None where nothing asks for pruning.

    Raises InvalidArgumentError that names the variable, its value and what is allowed.
    """
    compact: bool | None = _choice(environment, POSITIONS, ("original", "compact"))
    _refuse_semantics(environment)
    unpruned = _choice(environment, UNPRUNED, ("0", "1"))
    any_model = _choice(environment, MODEL, ("same", "any"))
    text = environment.get(BUDGET, "").strip()
    path = environment.get(RECIPE, "").strip()
    if path:
        if text:
            raise InvalidArgumentError(
                f"{BUDGET} must not be set with {RECIPE}, which has its own, got {text!r}"
            )
        if not environment.get(POSITIONS, "").strip():
            compact = None
        return _from_recipe(path, compact, unpruned, any_model)
    if any_model:
        raise InvalidArgumentError(f"{RECIPE} must be set where {MODEL} is")
    if not text:
        if compact or unpruned:
            raise InvalidArgumentError(
                f"{BUDGET} must be set where {POSITIONS} or {UNPRUNED} is (or "
                f"{RECIPE}): nothing is pruned without it"
            )
        return None
    return ServingSettings(read_budget(text, BUDGET), bool(compact), unpruned)


def left_out(recipe: Recipe) -> str:
    """What of a recipe a server cannot do, for its log; empty where it does all of it."""
    method = recipe.method
    assert isinstance(method, STS)
    if not method.semantics:
        return ""
    return (
        f"{recipe.source}: budget {method.budget}, space {method.space}, exponent "
        f"{method.exponent} and eps {method.eps} are used; the filter inside the language model "
        f"(layer {method.layer}, ratio {method.ratio}, steps {method.steps}, queries "
        f"{method.queries}, withdraw {method.withdraw}) cannot run with vLLM's one length for all "
        "layers, so every layer holds the budget and the measured agreement does not carry over; "
        "the weights were not compared with the recipe's"
    )


def _from_recipe(
    path: str, compact: bool | None, unpruned: bool, any_model: bool
) -> ServingSettings:
    """Raises InvalidArgumentError for a recipe of a method that vLLM cannot prune by."""
    try:
        recipe = read_recipe(path)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{RECIPE}: {error}") from None
    method = recipe.method
    if type(method) not in (STS, StructureOnly) or not getattr(method, "structure", True):
        raise InvalidArgumentError(
            f"{RECIPE} must be of method sts or structure-only with a structure stage, {path!r} is "
            f"of {recipe.method_name!r}"
        )
    assert isinstance(method, STS)
    if method.potential is not None:
        raise InvalidArgumentError(
            f"{RECIPE} must be of a fixed budget, {path!r} has potential {method.potential}: vLLM "
            "must know an image's length before the encoder has seen it"
        )
    return ServingSettings(
        method.budget,
        recipe.positions == "compact" if compact is None else compact,
        unpruned,
        method.space,
        method.exponent,
        method.eps,
        None if any_model else recipe.architecture,
        path,
    )


def _refuse_semantics(environment: Mapping[str, str]) -> None:
    """Choosing by the question's embeddings is gone: a server must not go on without a word."""
    value = environment.get("STSPRUNE_SEMANTICS", "").strip().lower()
    if value not in ("", "off"):
        raise InvalidArgumentError(
            f"STSPRUNE_SEMANTICS must be unset, got {value!r}: choosing by the question's "
            "embeddings lost 14 to 18 points and was taken out (docs/serving.md)"
        )


def _choice(environment: Mapping[str, str], name: str, allowed: tuple[str, str]) -> bool:
    """Whether the variable holds the second of the two allowed values; the first is the default."""
    value = environment.get(name, "").strip().lower() or allowed[0]
    if value not in allowed:
        raise InvalidArgumentError(f"{name} must be {' or '.join(allowed)}, got {value!r}")
    return value == allowed[1]
