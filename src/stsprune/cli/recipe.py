"""Reading `--recipe`, which stands for a method with all its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stsprune.errors import InvalidArgumentError

if TYPE_CHECKING:
    from stsprune.recipes import Recipe


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
