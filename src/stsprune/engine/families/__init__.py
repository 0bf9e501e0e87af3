"""The table of families. A new one is a file with an adapter and a line here."""

from __future__ import annotations

from typing import Any

from stsprune.errors import InvalidTypeError, UnsupportedModelError

from .anyres import LlavaNext, LlavaNextVideo, LlavaOnevision
from .base import Family
from .gemma import Gemma3
from .gemma4 import Gemma4, Gemma4Unified
from .grids import GRIDS
from .hybrids import Lfm2VL, Lfm3VL, MiniCPMV46, Qwen35, Qwen35Moe
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
    Gemma4(),
    Gemma4Unified(),
    *GRIDS,
    *SQUARES,
    *VIEWS,
)

#: transformers class name -> adapter
FAMILIES: dict[str, Family] = {name: family for family in _ALL for name in family.classes}


def family_of(model: Any) -> Family:
    """The adapter of a model, found by its class or a base class.

    Raises UnsupportedModelError or InvalidTypeError with what would work.
    """
    import torch

    if not isinstance(model, torch.nn.Module):
        raise InvalidTypeError(
            f"model must be a transformers vision-language model, got {type(model).__name__}"
        )
    for kind in type(model).__mro__:
        if kind.__name__ in FAMILIES:
            return FAMILIES[kind.__name__]
    raise UnsupportedModelError(
        f"model must be of a family that `stsprune models` lists; got {type(model).__name__}"
        f"{_why_not(type(model))}. docs/add_a_family.md says how to write an adapter."
    )


def _why_not(model: type) -> str:
    """What is known of a class without an adapter, and the nearest family."""
    for kind in model.__mro__:
        verdict = VERDICTS.get(kind.__name__)
        if verdict is not None:
            nearest = f" (the nearest family is {verdict.nearest})" if verdict.nearest else ""
            return f", which cannot be pruned: {verdict.why}{nearest}"
    return ""


__all__ = ["FAMILIES", "Family", "family_of"]
