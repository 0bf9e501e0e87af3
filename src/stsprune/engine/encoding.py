"""Seeing what the model's image encoder is given, and where asked, what it attends to.

generate() encodes images before the prompt's pass and keeps only the features, so the shapes of
the images (and the encoder's attention) are noted here and travel with the features.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from stsprune.errors import UnsupportedModeError, UnsupportedModelError
from stsprune.method.base import EncoderView, Method

from .compat import with_pixels
from .families import Family
from .layout import Bucket, Layout
from .towers import Encoded, TowerStage, TowerView, check_call, tower_of
from .towers.images import by_token, kept_tokens, pictures_of

NOTE = "stsprune_note"
#: What a note holds per picture.
_PER_PICTURE = {"encoded": ("grids", "kept"), "viewed": ("received", "keys", "layers")}


class Encoding:
    """Wraps get_image_features and get_video_features of the inner model."""

    def __init__(
        self, model: Any, family: Family, method: Method, tower: TowerStage | None = None
    ) -> None:
        self.model, self.family, self.method, self.tower = model, family, method, tower
        self.inner = family.inner(model)
        self.latest: dict[str, dict[str, Any]] = {}
        self.within = False  # a wrapped call: Qwen3-VL's videos go through get_image_features
        self.source: TowerView | None = None
        if "encoder" in method.needs:
            try:
                self.source = TowerView(tower_of(model, reading=True), method.tower_layers)
            except UnsupportedModelError as error:
                raise UnsupportedModelError(
                    f"method {type(method).__name__} reads the vision encoder's attention, which "
                    f"is not available for {family.name}"
                ) from error

    def install(self, undo: ExitStack) -> None:
        """Put the wrappers on; `undo` takes them off."""
        for modality in self.family.modalities:
            name = f"get_{modality}_features"
            if not hasattr(self.inner, name):
                continue  # then generate() cannot encode ahead either
            before = self.inner.__dict__.get(name)
            self.inner.__dict__[name] = self._noting(modality, getattr(self.inner, name))
            if before is None:
                undo.callback(self.inner.__dict__.pop, name)
            else:
                undo.callback(self.inner.__dict__.__setitem__, name, before)

    def seen(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Per modality of a call, what its encoder is told about the images (videos)."""
        encoded = arguments.get("mm_encoder_outputs") or {}
        found: dict[str, Any] = {}
        for kind in self.family.modalities:
            out = encoded.get(kind)
            pixels = arguments.get("pixel_values" if kind == "image" else "pixel_values_videos")
            if out is not None:
                found[kind] = getattr(out, NOTE, {}) | {"features": out.pooler_output}
            elif pixels is not None and pixels.shape[0] > 0:
                found[kind] = shapes_only(arguments)
        return found

    def view(
        self, arguments: dict[str, Any], layout: Layout
    ) -> Callable[[Bucket], EncoderView] | None:
        """A bucket's rows of the encoder's attention; None where the method needs none.

        Raises UnsupportedModeError for features that were not made inside `prune`.
        """
        if self.source is None:
            return None
        found: dict[int, list[Tensor]] = {}
        from_cls = False
        for modality, note in self._notes(arguments, layout).items():
            viewed = note.get("viewed")
            if viewed is None:
                raise UnsupportedModeError(
                    f"method {type(self.method).__name__} reads the encoder's attention: "
                    "mm_encoder_outputs must be made inside `prune`"
                )
            if viewed.shares != self.method.tower_layers:
                raise UnsupportedModeError(
                    f"method {type(self.method).__name__} reads the encoder layers "
                    f"{self.method.tower_layers}: mm_encoder_outputs were made for {viewed.shares}"
                )
            from_cls = viewed.from_cls
            counts = [len(part) for part in viewed.received]
            for image, numbers in pictures_of(layout, modality, counts).items():
                found[image] = [
                    by_token(layout.visuals[image], [part[number] for number in numbers])
                    for part in (viewed.received, viewed.keys, viewed.layers)
                    if part
                ]

        def view(bucket: Bucket) -> EncoderView:
            rows = zip(*(found[image] for image in bucket.images), strict=True)
            received, keys, *layers = (torch.stack(part) for part in rows)
            return EncoderView(received, keys, from_cls, *layers)

        return view

    def _notes(self, arguments: dict[str, Any], layout: Layout) -> dict[str, dict[str, Any]]:
        """Modality of the layout -> what was noted when its features were made."""
        given = arguments.get("mm_encoder_outputs") or {}
        notes: dict[str, dict[str, Any]] = {}
        for modality in dict.fromkeys("video" if v.video else "image" for v in layout.visuals):
            out = given.get(modality)
            latest = self.latest.get(modality, {})
            notes[modality] = getattr(out, NOTE, {}) if out is not None else latest
        return notes

    def left(self, arguments: dict[str, Any], layout: Layout) -> dict[int, Tensor]:
        """Image of the layout -> int64 [K]: its visual tokens that left the encoder, where a stage
        inside it drops any.

        Raises UnsupportedModeError for features that were made with another stage.
        """
        left: dict[int, Tensor] = {}
        for modality, note in self._notes(arguments, layout).items():
            if note.get("stage") != self.method.encoder:
                raise UnsupportedModeError(
                    f"mm_encoder_outputs must be made inside this `prune`: the {modality} features "
                    f"were made with encoder={note.get('stage')!r}, the method has "
                    f"encoder={self.method.encoder!r}"
                )
            if self.tower is None:
                continue
            encoded: Encoded = note["encoded"]
            counts = [math.prod(grid) for grid in encoded.grids]
            for image, numbers in pictures_of(layout, modality, counts).items():
                kept = [encoded.kept[number] for number in numbers]
                sizes = [counts[number] for number in numbers]
                left[image] = kept_tokens(layout.visuals[image], kept, sizes)
        return left

    def _noting(self, modality: str, original: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(original)

        @functools.wraps(original)
        def encode(*args: Any, **kwargs: Any) -> Any:
            if self.within:
                return original(*args, **kwargs)
            bound = signature.bind_partial(*args, **kwargs).arguments
            named = with_pixels(modality, bound | bound.pop("kwargs", {}))
            note: dict[str, Any] = shapes_only(named)
            with ExitStack() as undo:
                self.within = True
                undo.callback(setattr, self, "within", False)
                if self.source is not None:
                    note["viewed"] = self.source.install(undo, modality, dict(note))
                if self.tower is not None:
                    check_call(self.model, named)
                    note["stage"] = self.method.encoder
                    note["encoded"] = self.tower.install(undo, modality, named)
                out = original(*args, **kwargs)
            self.latest[modality] = note
            if not isinstance(out, tuple):
                setattr(out, NOTE, note)
            return out

        return encode


def take_images(encoded: Any, index: list[int]) -> Any:
    """Images of an encoder's output, repeated or reordered, for `mm_encoder_outputs`.

    encoded: what get_image_features returned inside `prune`, one entry per image; index: the
    image that each place of the new output shows.
    """
    out = type(encoded)(pooler_output=[encoded.pooler_output[i] for i in index])
    note = getattr(encoded, NOTE, {})
    rows = {
        name: replace(note[name], **_picked(note[name], parts, index))
        for name, parts in _PER_PICTURE.items()
        if name in note
    }
    setattr(out, NOTE, note | rows)
    return out


def _picked(note: Any, parts: tuple[str, ...], index: list[int]) -> dict[str, Any]:
    return {part: [getattr(note, part)[i] for i in index] for part in parts if getattr(note, part)}


def shapes_only(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments of an encoder with pixels replaced by their shapes."""
    return {
        name: tuple(value.shape)
        if name.startswith("pixel_values") and isinstance(value, torch.Tensor)
        else value
        for name, value in arguments.items()
    }
