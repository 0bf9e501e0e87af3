"""The table of vision towers; a line knows a model class and makes its `Tower`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from stsprune.errors import UnsupportedModeError, UnsupportedModelError

from ..families.base import given
from .base import Grid, Order, Refill, Tower, check_layers
from .mosaic import Shrink, interpolated, mosaics, pooled


def _vit(tower: Any, grid: tuple[int, int], order: Order, **more: Any) -> Tower:
    """CLIP and SigLIP: pictures side by side in a batch."""
    body = getattr(tower, "vision_model", tower)
    layers = body.encoder.layers
    return Tower(layers, _named(layers, "self_attn"), order=order, grid=(1, *grid), **more)


def _llava(model: Any) -> Tower:
    if model.config.vision_config.model_type == "pixtral":
        return _pixtral(model, (1, 1), Refill(model.model.multi_modal_projector))
    return _plain(model, refills=(Refill(model.model.multi_modal_projector),))


def _plain(model: Any, **more: Any) -> Tower:
    """CLIP or SigLIP with one visual token per patch."""
    inner, vision = model.model, model.config.vision_config
    if vision.model_type not in ("clip_vision_model", "siglip_vision_model"):
        raise _unknown(model, f"its vision tower is a {vision.model_type}")
    side = vision.image_size // vision.patch_size
    return _vit(
        inner.vision_tower,
        (side, side),
        Order(prefix=int(vision.model_type == "clip_vision_model")),
        used=check_layers(model.config.vision_feature_layer, vision.num_hidden_layers),
        **more,
    )


def _anyres(shrink: Shrink, model: Any) -> Tower:
    return _plain(model, refills=(), mosaics=mosaics(model, shrink))


def _gemma3(model: Any) -> Tower:
    inner, vision = model.model, model.config.vision_config
    side = int(model.config.mm_tokens_per_image**0.5)
    pool = vision.image_size // vision.patch_size // side
    return _vit(
        inner.vision_tower,
        (side, side),
        Order((pool, pool)),
        used=vision.num_hidden_layers,
        refills=(Refill(inner.multi_modal_projector, before=True),),
    )


def _idefics(model: Any) -> Tower:
    inner, vision = model.model, model.config.vision_config
    scale = model.config.scale_factor
    side = vision.image_size // vision.patch_size // scale
    return _vit(
        inner.vision_model,
        (side, side),
        Order((scale, scale)),
        used=vision.num_hidden_layers,
        refills=(Refill(inner.connector, before=True),),
        tiled=True,
    )


def _internvl(model: Any) -> Tower:
    inner, vision = model.model, model.config.vision_config
    if model.config.vision_feature_layer != -1:
        raise _unknown(model, "it takes features before its vision tower's last layer")
    merge = round(1 / model.config.downsample_ratio)
    rows, columns = (
        pixels // patch // merge
        for pixels, patch in zip(vision.image_size, vision.patch_size, strict=True)
    )
    blocks = inner.vision_tower.encoder.layer
    return Tower(
        blocks,
        _named(blocks, "attention"),
        vision.num_hidden_layers,
        Order((merge, merge), prefix=1),
        (Refill(inner.vision_tower.layernorm, prefix=True),),
        tiled=True,
        grid=(1, rows, columns),
    )


def _qwen(model: Any) -> Tower:
    visual, vision = model.model.visual, model.config.vision_config
    merge = vision.spatial_merge_size
    window = None
    if getattr(vision, "window_size", None):
        window = vision.window_size // merge // vision.patch_size
    unit, taps = merge * merge, getattr(visual, "deepstack_visual_indexes", ())
    mergers = [Refill(visual.merger, unit=unit)]
    for layer, merger in zip(taps, getattr(visual, "deepstack_merger_list", ()), strict=True):
        mergers.append(Refill(merger, unit=unit, after=layer))

    def pictures(modality: str, arguments: Mapping[str, Any]) -> list[Grid]:
        grids = given(dict(arguments), f"{modality}_grid_thw").tolist()
        return [(frames, high // merge, wide // merge) for frames, high, wide in grids]

    return Tower(
        visual.blocks,
        _named(visual.blocks, "attn"),
        len(visual.blocks),
        Order((merge, merge), grouped=True, window=window),
        tuple(mergers),
        packed=True,
        pictures=pictures,
        full=None if window is None else tuple(visual.fullatt_block_indexes),
    )


def _mistral3(model: Any) -> Tower:
    merge = model.config.spatial_merge_size
    projector = Refill(model.model.multi_modal_projector, before=True)
    return _pixtral(model, (merge, merge), projector)


def _pixtral(model: Any, merge: tuple[int, int], refill: Refill) -> Tower:
    vision, blocks = model.config.vision_config, model.model.vision_tower.transformer.layers

    def pictures(modality: str, arguments: Mapping[str, Any]) -> list[Grid]:
        sizes = given(dict(arguments), "image_sizes")
        sizes = sizes.tolist() if hasattr(sizes, "tolist") else sizes
        high, wide = (vision.patch_size * side for side in merge)
        return [(1, int(height) // high, int(width) // wide) for height, width in sizes]

    return Tower(
        blocks,
        _named(blocks, "attention"),
        check_layers(model.config.vision_feature_layer, len(blocks)),
        Order(merge),
        (refill,),
        packed=True,
        pictures=pictures,
    )


#: transformers class name -> what makes its tower
TOWERS: dict[str, Callable[[Any], Tower]] = {
    "LlavaForConditionalGeneration": _llava,
    "Gemma3ForConditionalGeneration": _gemma3,
    "Idefics3ForConditionalGeneration": _idefics,
    "SmolVLMForConditionalGeneration": _idefics,
    "Qwen2VLForConditionalGeneration": _qwen,
    "Qwen2_5_VLForConditionalGeneration": _qwen,
    "Qwen3VLForConditionalGeneration": _qwen,
    "Qwen3VLMoeForConditionalGeneration": _qwen,
    "InternVLForConditionalGeneration": _internvl,
    "Mistral3ForConditionalGeneration": _mistral3,
}

#: Those whose attention can be read, but where no stage fits in: padding is cut off their tiles.
READ_ONLY: dict[str, Callable[[Any], Tower]] = {
    "LlavaNextForConditionalGeneration": partial(_anyres, interpolated),
    "LlavaNextVideoForConditionalGeneration": partial(_anyres, pooled),
    "LlavaOnevisionForConditionalGeneration": partial(_anyres, interpolated),
}


def tower_of(model: Any, reading: bool = False) -> Tower:
    """The vision tower of a model. Raises UnsupportedModelError where it is not known.

    reading: also those of which only the attention can be read.
    """
    known = TOWERS | READ_ONLY if reading else TOWERS
    for kind in type(model).__mro__:
        if kind.__name__ in known:
            return known[kind.__name__](model)
        if kind.__name__ in READ_ONLY:
            raise _unknown(model, "padding is cut off its tiles behind the vision tower")
    raise _unknown(model, "its vision tower is not in the table of engine/towers")


def check_call(model: Any, arguments: Mapping[str, Any]) -> None:
    """Features must be taken where the config says. Raises UnsupportedModeError."""
    for name in ("vision_feature_layer", "vision_feature_select_strategy"):
        value, usual = arguments.get(name), getattr(model.config, name, None)
        if value is not None and value != usual:
            raise UnsupportedModeError(
                f"{name} must be the config's {usual!r} with an encoder stage, got {value!r}"
            )


def _named(blocks: Any, name: str) -> tuple[Any, ...]:
    return tuple(getattr(block, name) for block in blocks)


def _unknown(model: Any, why: str) -> UnsupportedModelError:
    return UnsupportedModelError(_sentence(type(model).__name__, why))


def _sentence(name: str, why: str) -> str:
    known = ", ".join(sorted(TOWERS))
    return f"encoder must be None for {name}: {why}; an encoder stage knows {known}"
