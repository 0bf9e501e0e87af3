"""An adapter for models that have none: it looks for the parts and guesses the images' shapes."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import nn

from stsprune.errors import UnsupportedModelError

from ..layout import Ids
from ..visual import Visual
from .base import Family
from .guesses import guessed


class Generic(Family):
    """What a family states by `register_family` stands; the rest is found on the model.

    stated: names of what was stated.
    """

    name = "generic"
    classes = ()
    proven = False
    guesses = True
    stated: ClassVar[frozenset[str]] = frozenset()

    def fitted(self, model: Any) -> Family:
        """See `Family.fitted`. Raises UnsupportedModelError for a model without the parts."""
        decoder, inner = self.decoder(model), self.inner(model)
        facts = {
            "rotary_axes": _axes(decoder.config) if hasattr(inner, "get_rope_index") else 1,
            "modalities": ("image", "video")
            if hasattr(inner, "get_video_features") and _token_id(model, "video") is not None
            else ("image",),
        }
        guess = {name: value for name, value in facts.items() if name not in self.stated}
        made: Family = type(type(self).__name__, (type(self),), guess)()
        made.token_ids(model)  # a missing one shows here
        return made

    def inner(self, model: Any) -> Any:
        """See `Family.inner`: the last module before the decoder that takes ids and pixels."""
        decoder = self.decoder(model)
        path = next((name for name, part in model.named_modules() if part is decoder), "")
        names = path.split(".")
        for end in range(len(names) - 1, -1, -1):
            module = model.get_submodule(".".join(names[:end]))
            if {"input_ids", "pixel_values"} <= set(inspect.signature(module.forward).parameters):
                return module
        raise UnsupportedModelError(
            "model must have a module around its decoder whose forward takes input_ids and "
            f"pixel_values, {type(model).__name__} has none: register_family(..., inner=...)"
        )

    def decoder(self, model: Any) -> Any:
        """See `Family.decoder`. Raises UnsupportedModelError."""
        found = model.get_decoder() if hasattr(model, "get_decoder") else None
        for part in (found, *model.modules()):
            layers, config = getattr(part, "layers", None), getattr(part, "config", None)
            if isinstance(layers, nn.ModuleList) and config and _embeds(part, model):
                return part
        raise UnsupportedModelError(
            f"model must have a text decoder with `layers`, {type(model).__name__} shows none: "
            "register_family(..., decoder=...)"
        )

    def token_ids(self, model: Any) -> dict[str, int]:
        """See `Family.token_ids`. Raises UnsupportedModelError."""
        found = {}
        for kind in self.modalities:
            token = _token_id(model, kind)
            if token is None:
                raise UnsupportedModelError(
                    f"model.config must have {kind}_token_id, that of {type(model).__name__} has "
                    "none: register_family(..., token_ids=...)"
                )
            found[kind] = token
        return found

    def visuals(
        self, model: Any, modality: str, arguments: dict[str, Any], ids: Ids
    ) -> Sequence[Visual]:
        """See `Family.visuals`."""
        return guessed(model, modality, arguments, ids, self.token_ids(model)[modality])


def _embeds(part: Any, model: Any) -> bool:
    """Whether a part holds the table of the text's embeddings itself."""
    table = model.get_input_embeddings()
    return any(child is table for child in part.children())


def _token_id(model: Any, kind: str) -> int | None:
    for name in (f"{kind}_token_id", f"{kind}_token_index"):
        token = getattr(model.config, name, None)
        if isinstance(token, int):
            return token
    return None


def _axes(config: Any) -> int:
    """Numbers per rotary position: one per section of the config's table."""
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    sections = next((value for name, value in rope.items() if name.endswith("rope_section")), ())
    return max(1, len(sections))
