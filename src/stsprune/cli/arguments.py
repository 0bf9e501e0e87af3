"""Reading what several commands take: budgets, methods, recipes, how a model is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stsprune.errors import InvalidArgumentError

if TYPE_CHECKING:
    from stsprune.recipes import Recipe


def token_budgets(text: str, tokens: int) -> list[int]:
    """'48,0.25' for images of `tokens` -> [48, 36]; fractions are rounded down.

    Raises InvalidArgumentError as `read_budget` does.
    """
    from stsprune.selection.budget import kept_tokens, read_budget

    parsed = [read_budget(part.strip()) for part in text.split(",")]
    return [budget if isinstance(budget, int) else kept_tokens(budget, tokens) for budget in parsed]


def whole_numbers(name: str, text: str) -> tuple[int, ...]:
    """'1,8' -> (1, 8). Raises InvalidArgumentError."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InvalidArgumentError(
            f"{name} must be whole numbers with commas, got {text!r}"
        ) from None


NO_METHOD = "none"


def pick_method(name: str, budget: int | float) -> Any:
    """The method of that name at that budget; None for "none".

    Raises InvalidArgumentError for an unknown name.
    """
    from stsprune.method import find_method

    return None if name == NO_METHOD else find_method(name, NO_METHOD)(budget=budget)


def pick_names(text: str, ablations: bool = True) -> list[str]:
    """'sts, grid' -> ["sts", "grid"]; "all" is every method, with the ablations or without."""
    from stsprune.method import methods

    if text != "all":
        return [part.strip() for part in text.split(",")]
    return [name for name in methods() if ablations or not is_ablation(name)]


def is_ablation(name: str) -> bool:
    """Whether a known method is STS with something taken away or changed."""
    from stsprune.method import methods

    return methods()[name].ablation


DTYPES = ("float32", "bfloat16", "float16")
ATTENTIONS = ("sdpa", "eager", "flash_attention_2", "flash_attention_3")


def check_dtype(name: str | None) -> None:
    """None = as stored. Raises InvalidArgumentError."""
    if name is not None and name not in DTYPES:
        raise InvalidArgumentError(f"dtype must be one of {', '.join(DTYPES)}, got {name!r}")


def check_attention(name: str | None) -> None:
    """None = transformers' choice. Raises InvalidArgumentError."""
    if name is not None and name not in ATTENTIONS:
        allowed = ", ".join(ATTENTIONS)
        raise InvalidArgumentError(f"attention must be one of {allowed}, got {name!r}")


def check_family(name: str | None) -> None:
    """None = found by the model's class. Raises InvalidArgumentError for an unknown name."""
    if name is None:
        return
    from stsprune.engine.families import check_name

    check_name(name)


def check_device(name: str | None) -> None:
    """A device that is there; None = the GPU if there is one. Raises InvalidArgumentError."""
    import torch

    if name is None:
        return
    try:
        torch.empty(1, device=name).cpu()
    except (RuntimeError, AssertionError, ImportError, NotImplementedError):
        there = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
        raise InvalidArgumentError(
            f"device must be one that this machine has ({', '.join(there)}), got {name!r}"
        ) from None


def pick_recipe(path: str | None, given: Any, *instead: str) -> Recipe | None:
    """The recipe, None without a path.

    given: the command's typer.Context; instead: options that the recipe takes the place of.
    Raises InvalidArgumentError where one of them is on the command line too.
    """
    if path is None:
        return None
    from stsprune.recipes import read_recipe

    for name in instead:
        source = given.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise InvalidArgumentError(
                f"{name} must be left out with --recipe, which has its own: {path!r}"
            )
    recipe = read_recipe(path)
    recipe.warn_versions()
    return recipe


def check_fixed(recipe: Recipe, why: str) -> None:
    """Raises InvalidArgumentError for a recipe whose budget follows the picture."""
    if recipe.method.adapts:
        raise InvalidArgumentError(f"{recipe.source} must be of a fixed budget: {why}")
