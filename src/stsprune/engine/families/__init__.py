"""The table of families. A new one is a file with an adapter and a line here."""

from __future__ import annotations

from typing import Any

from stsprune.errors import InvalidArgumentError, InvalidTypeError, UnsupportedModelError

from .anyres import Granite4Vision, LlavaNext, LlavaNextVideo, LlavaOnevision
from .base import Family
from .gemma import Gemma3
from .gemma4 import Gemma4, Gemma4Unified
from .generic import Generic
from .grids import GRIDS
from .hybrids import (
    Lfm2VL,
    Lfm3VL,
    MiniCPMOcr,
    MiniCPMV46,
    MiniCPMV47,
    NemotronHOmni,
    Qwen35,
    Qwen35Moe,
)
from .idefics import Idefics3, SmolVLM
from .internvl import InternVL
from .llava import Llava
from .mistral import Mistral3
from .qwen import Qwen2VL, Qwen3VL, Qwen3VLMoe, Qwen25VL
from .squares import SQUARES
from .verdicts import VERDICTS
from .views import VIEWS

_ALL: tuple[Family, ...] = (
    Llava(),
    LlavaNext(),
    LlavaNextVideo(),
    LlavaOnevision(),
    Granite4Vision(),
    Qwen2VL(),
    Qwen25VL(),
    Qwen3VL(),
    Qwen3VLMoe(),
    InternVL(),
    Idefics3(),
    SmolVLM(),
    Gemma3(),
    Mistral3(),
    Qwen35(),
    Qwen35Moe(),
    Lfm2VL(),
    Lfm3VL(),
    MiniCPMV46(),
    MiniCPMV47(),
    MiniCPMOcr(),
    NemotronHOmni(),
    Gemma4(),
    Gemma4Unified(),
    *GRIDS,
    *SQUARES,
    *VIEWS,
)

#: transformers class name -> adapter
FAMILIES: dict[str, Family] = {name: family for family in _ALL for name in family.classes}


#: The same of what `register_family` brought in this process.
REGISTERED: dict[str, Family] = {}
GENERIC = Generic()


def families() -> dict[str, Family]:
    """Name -> adapter, of all that `prune(family=...)` takes."""
    known = (*_ALL, *REGISTERED.values(), GENERIC)
    return {family.name: family for family in known}


def family_of(model: Any, family: str | Family | None = None) -> Family:
    """The adapter of a model, found by its class or a base class, or asked for by name.

    Raises UnsupportedModelError, InvalidTypeError or InvalidArgumentError with what would work.
    """
    import torch

    if isinstance(family, Family):
        return family
    if not isinstance(model, torch.nn.Module):
        raise InvalidTypeError(
            f"model must be a transformers vision-language model, got {type(model).__name__}"
        )
    if family is not None:
        return _named(family, type(model)).fitted(model)
    for kind in type(model).__mro__:
        found = REGISTERED.get(kind.__name__) or FAMILIES.get(kind.__name__)
        if found is not None:
            return found.fitted(model)
    raise UnsupportedModelError(
        f"model must be of a family that `stsprune models` lists; got {type(model).__name__}"
        f"{_why_not(type(model))}. prune(..., family='generic') guesses an adapter and checks it; "
        "docs/add_a_family.md says how to register one."
    )


def check_name(name: Any) -> None:
    """A name that `prune(family=...)` takes. Raises InvalidTypeError or InvalidArgumentError."""
    if not isinstance(name, str):
        raise InvalidTypeError(f"family must be a name or None, got {type(name).__name__}")
    known = families()
    if name not in known:
        raise InvalidArgumentError(
            f"family must be one of {', '.join(sorted(known))}, got {name!r} "
            "(stsprune.register_family adds one)"
        )


def made_for(family: Family, model: Any) -> bool:
    """Whether an adapter names a model's class or a base of it."""
    return any(kind.__name__ in family.classes for kind in type(model).__mro__)


def _named(name: str, model: type) -> Family:
    """Raises what `check_name` raises, and UnsupportedModelError."""
    check_name(name)
    found = families()[name]
    if found is GENERIC and any(
        VERDICTS[kind.__name__].outside for kind in model.__mro__ if kind.__name__ in VERDICTS
    ):
        raise UnsupportedModelError(
            f"model must suit family 'generic'; got {model.__name__}{_why_not(model)}."
        )
    return found


def _why_not(model: type) -> str:
    """What is known of a class without an adapter, and the nearest family."""
    for kind in model.__mro__:
        verdict = VERDICTS.get(kind.__name__)
        if verdict is not None:
            nearest = f" (the nearest family is {verdict.nearest})" if verdict.nearest else ""
            return f", which cannot be pruned: {verdict.why}{nearest}"
    return ""


__all__ = ["FAMILIES", "GENERIC", "REGISTERED", "Family", "families", "family_of", "made_for"]
