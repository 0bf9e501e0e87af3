"""Recipes: a method with all its settings, its model, and what was measured there."""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .errors import InvalidArgumentError, RecipeVersionWarning, StsPruneError
from .method import Method, find_method, methods

FORMAT = "stsprune recipe 1"
#: Values of each weight that are hashed: any training moves nearly all of them.
SAMPLED = 1024
_DTYPES_ALIKE = "bfloat16"


@dataclass(frozen=True)
class Recipe:
    """What `stsprune calibrate` found.

    method: with every setting; positions: see `stsprune.prune`; architecture, weights: the model's
    class and `weights_hash`; versions: of stsprune, torch and transformers; name: what the model
    was called; facts: what was measured, for people (target, measured, saved, data).
    """

    method: Method
    architecture: str
    weights: str
    positions: str = "original"
    versions: dict[str, str] = field(default_factory=dict)
    name: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    source: str = "recipe"

    @property
    def method_name(self) -> str:
        """See `method_name`."""
        return method_name(self.method)

    def settings(self) -> dict[str, Any]:
        """The method's settings without its budget."""
        return {name: value for name, value in settings_of(self.method).items() if name != "budget"}

    def document(self) -> dict[str, Any]:
        """What `read_recipe` reads."""
        return {
            "format": FORMAT,
            "method": {"name": self.method_name, "settings": settings_of(self.method)},
            "positions": self.positions,
            "model": {
                "name": self.name,
                "architecture": self.architecture,
                "weights": self.weights,
            },
            "versions": self.versions,
            **self.facts,
        }

    def check_model(self, model: Any) -> None:
        """Raises InvalidArgumentError for another model than the recipe's."""
        from .engine.unwrap import unwrap

        model = unwrap(model)
        found = type(model).__name__
        if found != self.architecture:
            raise InvalidArgumentError(
                f"{self.source} is for a {self.architecture}, got a {found}: a budget that is safe "
                "for one model says nothing about another (any_model allows it)"
            )
        if weights_hash(model) != self.weights:
            raise InvalidArgumentError(
                f"{self.source} is for the weights of {self.name or 'another model'!r}, got other "
                f"weights of a {found}: calibrate on these (any_model allows it)"
            )

    def check_method(self, name: str) -> None:
        """Raises InvalidArgumentError where the recipe holds another method."""
        if name != self.method_name:
            raise InvalidArgumentError(
                f"{self.source} is for method {self.method_name!r}, got {name!r}"
            )

    def warn_versions(self) -> None:
        """Warns (RecipeVersionWarning) where anything else than what it was made with runs."""
        here = versions()
        other = [
            f"{name} {made} (here {here[name]})"
            for name, made in self.versions.items()
            if name in here and here[name] != made
        ]
        if other:
            warnings.warn(
                f"{self.source} was made with {', '.join(other)}: answers may differ a little; "
                "calibrate again to be sure",
                RecipeVersionWarning,
                stacklevel=3,
            )


def load_recipe(
    path: str | os.PathLike[str], model: Any = None, *, any_model: bool = False
) -> Method:
    """The method of a recipe, to hand to `stsprune.prune`.

    Args:
        path: The recipe.json that `stsprune calibrate` wrote.
        model: The one that is to be pruned; another model than the recipe's is refused.
        any_model: Do not refuse it.

    Returns:
        The method with every setting.

    Raises:
        InvalidArgumentError: Names the file and what is allowed.

    Warns:
        RecipeVersionWarning: It was made with other versions.
    """
    recipe = read_recipe(path)
    if model is not None and not any_model:
        recipe.check_model(model)
    recipe.warn_versions()
    return recipe.method


def read_recipe(path: str | os.PathLike[str]) -> Recipe:
    """A whole recipe, unchecked against any model. Raises InvalidArgumentError."""
    source = f"recipe {os.fspath(path)!r}"
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidArgumentError(f"{source} does not exist") from None
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InvalidArgumentError(f"{source} must be a JSON file: {reason}") from None
    found = document.get("format") if isinstance(document, dict) else None
    if found != FORMAT:
        raise InvalidArgumentError(
            f"{source} must be a file with the format {FORMAT!r}, as stsprune calibrate writes it, "
            f"got {found!r}"
        )
    try:
        method, model = document["method"], document["model"]
        name, settings = method["name"], dict(method["settings"])
        architecture, weights = str(model["architecture"]), str(model["weights"])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidArgumentError(
            f"{source} must have method (name, settings) and model (architecture, weights), "
            f"{error} is missing or broken"
        ) from None
    kept = ("format", "method", "positions", "model", "versions")
    return Recipe(
        method=_build(source, str(name), settings),
        architecture=architecture,
        weights=weights,
        positions=str(document.get("positions", "original")),
        versions=dict(document.get("versions") or {}),
        name=str(model.get("name", "")),
        facts={key: value for key, value in document.items() if key not in kept},
        source=source,
    )


def method_name(method: Method) -> str:
    """The name under which `stsprune.methods` lists a method. Raises InvalidArgumentError."""
    for name, kind in methods().items():
        if type(method) is kind:
            return name
    raise InvalidArgumentError(
        f"method must be one of {', '.join(methods())}, got a {type(method).__name__}"
    )


def settings_of(method: Method) -> dict[str, Any]:
    """Every setting, the budget first."""
    return {setting.name: getattr(method, setting.name) for setting in fields(method)}


def weights_hash(model: Any) -> str:
    """SHA-256 of a model's weights, of some values of each, in any floating type alike.

    1,024 evenly spread values of every tensor, rounded to bfloat16: seconds for a large model.
    """
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {list(tensor.shape)}".encode())
        if tensor.is_meta:
            continue
        flat = tensor.detach().reshape(-1)
        chosen = flat[:: max(1, math.ceil(flat.numel() / SAMPLED))]
        rounded = chosen.to(getattr(torch, _DTYPES_ALIKE)).cpu().contiguous()
        digest.update(rounded.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@cache
def versions() -> dict[str, str]:
    """Of what answers depend on."""
    out = {}
    for name in ("stsprune", "torch", "transformers"):
        try:
            out[name] = version(name)
        except PackageNotFoundError:  # run from a source tree
            out[name] = "0"
    return out


def _build(source: str, name: str, settings: dict[str, Any]) -> Method:
    try:
        kind = find_method(name)
        known = [setting.name for setting in fields(kind)]
        unknown = [key for key in settings if key not in known]
        if unknown:
            raise InvalidArgumentError(
                f"{name} has the settings {', '.join(known)}, got {unknown[0]!r}"
            )
        return kind(**settings)
    except (StsPruneError, TypeError) as error:
        raise InvalidArgumentError(f"{source}: {error}") from None
