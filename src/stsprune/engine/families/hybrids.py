"""Families whose decoders have layers that scan between the ones that attend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stsprune.errors import UnsupportedModeError

from ..layout import Ids
from ..visual import Plane, Visual
from .base import Family, given
from .qwen import Qwen2VL, Qwen3VL


class Qwen35(Qwen3VL):
    """Gated DeltaNet in three of four layers; also the class of Qwen3.6."""

    name = "Qwen3.5"
    classes = ("Qwen3_5ForConditionalGeneration",)
    since = "5.19"


class Qwen35Moe(Qwen35):
    """As Qwen3.5, with experts."""

    name = "Qwen3.5-MoE"
    classes = ("Qwen3_5MoeForConditionalGeneration",)


class Lfm2VL(Family):
    """Short convolutions; tiles and a thumbnail are images of their own, any size each."""

    name = "LFM2-VL"
    classes = ("Lfm2VlForConditionalGeneration",)
    since = "5.19"

    def visuals(
        self, model: Any, modality: str, arguments: dict[str, Any], ids: Ids
    ) -> Sequence[Visual]:
        """See `Family.visuals`."""
        factor = model.config.downsample_factor
        return [
            Visual((Plane((height // factor, width // factor)),))
            for height, width in given(arguments, "spatial_shapes").tolist()
        ]


class Lfm3VL(Qwen2VL):
    """Short convolutions, sliding and full attention; images and videos as grids, one axis."""

    name = "LFM3-VL"
    classes = ("Lfm3VlForConditionalGeneration",)
    since = "5.19"
    rotary_axes = 1


class MiniCPMV46(Family):
    """Over Qwen3.5's decoder; a picture's slices are images of their own. Videos stay whole."""

    name = "MiniCPM-V 4.6"
    classes = ("MiniCPMV4_6ForConditionalGeneration",)
    since = "5.19"
    rotary_axes = 1

    def visuals(
        self, model: Any, modality: str, arguments: dict[str, Any], ids: Ids
    ) -> Sequence[Visual]:
        """See `Family.visuals`: merged once in the encoder, unless it is told not to, and after."""
        mode = arguments.get("downsample_mode") or model.config.downsample_mode
        cell = 2 if mode == "4x" else 4
        return [
            Visual((Plane((height // cell, width // cell)),))
            for height, width in given(arguments, "target_sizes").tolist()
        ]


class MiniCPMOcr(MiniCPMV46):
    """As MiniCPM-V 4.6; four times the tokens, unless it is told otherwise."""

    name = "MiniCPM-OCR"
    classes = ("MiniCPMOcrForConditionalGeneration",)
    since = "5.23"


class MiniCPMV47(MiniCPMV46):
    """As MiniCPM-V 4.6, with positions on a canvas that a picture's slices share."""

    name = "MiniCPM-V 4.7"
    classes = ("MiniCPMV4_7ForConditionalGeneration",)
    since = "5.23"
    rotary_axes = 3


class NemotronHOmni(Family):
    """Mamba-2, experts and few attention layers, none of which reads positions."""

    name = "Nemotron-H Omni"
    classes = ("NemotronH_Omni_Reasoning_V3",)
    since = "5.23"
    rotary_axes = 0

    def inner(self, model: Any) -> Any:
        """See `Family.inner`."""
        return model

    def decoder(self, model: Any) -> Any:
        """See `Family.decoder`."""
        return model.language_model.model

    def visuals(
        self, model: Any, modality: str, arguments: dict[str, Any], ids: Ids
    ) -> Sequence[Visual]:
        """See `Family.visuals`. Raises UnsupportedModeError beside videos."""
        if arguments.get("pixel_values_videos") is not None:
            raise UnsupportedModeError(
                "pixel_values_videos must not be given beside pixel_values: the prompt does not "
                "tell a video's placeholders from an image's"
            )
        cell = round(1 / model.config.downsample_ratio)
        return [
            Visual((Plane((height // cell, width // cell)),))
            for height, width in given(arguments, "image_grid_hw").tolist()
        ]
