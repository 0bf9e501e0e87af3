"""Shapes of images as vLLM's processors describe them, by the engine's own adapters."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from stsprune.engine.families import FAMILIES
from stsprune.engine.families.base import encoder_side
from stsprune.engine.families.internvl import tiles
from stsprune.engine.layout import Ids
from stsprune.engine.visual import Plane, Visual, square
from stsprune.errors import InvalidArgumentError, UnsupportedModelError

from .choose import kept_length

_log = logging.getLogger("stsprune.serving")


@dataclass(frozen=True)
class ServedFamily:
    """A family as vLLM serves it.

    architecture: the name in config.json; describes: the processor's output that tells an image's
    shape, None where all images have one; token: name of the placeholder's id in the configuration;
    axes: numbers per rotary position.
    """

    architecture: str
    describes: str | None = None
    token: str = "image_token_id"
    axes: int = 1

    def image_token(self, config: Any) -> int:
        """The id that stands for one visual token in a prompt."""
        return int(getattr(config, self.token))

    def check(self, config: Any) -> None:
        """Raises UnsupportedModelError or UnsupportedModeError for what cannot be pruned."""
        vision = config.vision_config
        if vision.model_type == "pixtral":
            raise UnsupportedModelError(
                "a LLaVA with a Pixtral encoder cannot be pruned in vLLM: unset STSPRUNE_BUDGET"
            )
        if self.describes in (None, "image_sizes"):
            encoder_side(SimpleNamespace(config=config))

    def visual(self, config: Any, item: Mapping[str, Any], length: int) -> Visual:
        """The shape of one image with `length` placeholders.

        item: the image's entries of the processor's output. Raises InvalidArgumentError where no
        shape has that many placeholders.
        """
        for shape in self._shapes(config, item):
            if shape.length == length:
                return shape
        raise self._strange(length)

    def served_visual(self, config: Any, item: Mapping[str, Any], length: int) -> Visual:
        """As `visual`, in a worker: raises nothing; the likeliest shape where none fits."""
        shapes = self._shapes(config, item)
        for shape in shapes:
            if shape.length == length:
                return shape
        _log.error("%s; the answer is spoiled", self._strange(length))
        return shapes[0]

    def pruned_visual(
        self, config: Any, item: Mapping[str, Any], kept: int, budget: int | float
    ) -> Visual | None:
        """The shape of one image of which `kept` placeholders stay, in a worker: None where none
        fits or nothing is known of the image."""
        if self.describes is not None and self.describes not in item:
            return None
        for shape in self._shapes(config, item):
            if kept_length(shape, budget) == kept:
                return shape
        _log.error("%s; the answer is spoiled", self._strange(kept))
        return None

    def longest(self, config: Any, item: Mapping[str, Any]) -> int:
        """Placeholders of one image before pruning, at most."""
        return max(shape.length for shape in self._shapes(config, item))

    def entries(self, item: Mapping[str, Any]) -> int:
        """Entries of `pixel_values` that one image has."""
        if self.describes == "image_grid_thw":
            return math.prod(torch.as_tensor(item[self.describes]).flatten().tolist())
        return int(item[self.describes]) if self.describes == "image_num_patches" else 1

    def placeholders(self, config: Any) -> set[int]:
        """Ids that rows of an encoder stand at, of images and of videos."""
        videos = (getattr(config, name, None) for name in ("video_token_id", "video_token_index"))
        return {self.image_token(config), *(int(one) for one in videos if one is not None)}

    def _strange(self, length: int) -> InvalidArgumentError:
        return InvalidArgumentError(
            f"an image of {self.architecture} has {length} placeholders, which fits none of its "
            "shapes: unset STSPRUNE_BUDGET to serve it unpruned, and report it"
        )

    def _shapes(self, config: Any, item: Mapping[str, Any]) -> list[Visual]:
        model = SimpleNamespace(config=config)
        if self.describes is None:
            return [square(encoder_side(model))]
        described = torch.as_tensor(item[self.describes]).reshape(1, -1).cpu()
        if self.describes == "image_num_patches":
            return [tiles(config, int(described))]
        none = torch.empty(0, 0)
        found = FAMILIES[self.architecture].visuals(
            model, "image", {self.describes: described}, Ids(none, none, none.device)
        )
        if self.describes != "image_sizes":
            return list(found)
        side = encoder_side(model)  # one of several images may be a thumbnail only
        return [*found, Visual((Plane((side, side), tail=1),))]

    def offsets(self, visual: Visual, kept: Tensor) -> Tensor:
        """Rotary positions of kept placeholders from the image's first on: int64 [K, 3].

        Of one axis only the first column is used. The last one says where the image ends, so that
        what follows an image at the prompt's end stands behind all of it.
        """
        if self.axes == 1:
            return torch.stack([kept, kept, torch.full_like(kept, visual.length - 1)], 1)
        width = visual.grid[-1]
        return torch.stack([torch.zeros_like(kept), kept // width, kept % width], 1)


_TILES = ("image_sizes", "image_token_index")
_GRID = ("image_grid_thw", "image_token_id", 3)

SERVED: dict[str, ServedFamily] = {
    family.architecture: family
    for family in (
        ServedFamily("LlavaForConditionalGeneration", None, "image_token_index"),
        ServedFamily("LlavaNextForConditionalGeneration", *_TILES),
        ServedFamily("LlavaOnevisionForConditionalGeneration", *_TILES),
        ServedFamily("Qwen2VLForConditionalGeneration", *_GRID),
        ServedFamily("Qwen2_5_VLForConditionalGeneration", *_GRID),
        ServedFamily("Qwen3VLForConditionalGeneration", *_GRID),
        ServedFamily("InternVLForConditionalGeneration", "image_num_patches"),
    )
}
