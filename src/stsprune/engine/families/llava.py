"""LLaVA-1.5: every image is one grid of the vision encoder's patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..layout import Ids
from ..visual import Plane, Visual, square
from .base import Family, encoder_side, given, square_side


class Llava(Family):
    """A CLIP or SigLIP grid of one size, or Pixtral's grids of any size."""

    name = "LLaVA-1.5"
    classes = ("LlavaForConditionalGeneration",)

    def tokens(self, model: Any) -> int | None:
        """See `Family.tokens`."""
        return None if _pixtral(model) else encoder_side(model) ** 2

    def visuals(
        self, model: Any, modality: str, arguments: dict[str, Any], ids: Ids
    ) -> Sequence[Visual]:
        """See `Family.visuals`."""
        if _pixtral(model):
            return patch_grids(given(arguments, "image_sizes"), model.config.vision_config, 1)
        if arguments.get("features") is not None:
            return [square(square_side(len(features))) for features in arguments["features"]]
        return [square(encoder_side(model))] * given(arguments, "pixel_values")[0]


def patch_grids(image_sizes: Any, vision: Any, merge: int) -> list[Visual]:
    """Pixtral: (height, width) in pixels of each image -> its grid of merged patches."""
    sizes = image_sizes.tolist() if hasattr(image_sizes, "tolist") else image_sizes
    cell = vision.patch_size * merge
    return [Visual((Plane((int(h) // cell, int(w) // cell)),)) for h, w in sizes]


def _pixtral(model: Any) -> bool:
    return model.config.vision_config.model_type == "pixtral"
