"""The one file that knows transformers' versions: what differs between them, and which were run."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import cache_utils
from transformers.cache_utils import DynamicCache
from transformers.masking_utils import create_causal_mask

from stsprune.errors import UnsupportedVersionError, UntestedVersionWarning

#: The oldest and the newest release that `make test-matrix` runs.
FLOOR, NEWEST = "5.6.0", "5.24.0"

_MASK_PARAMETERS = frozenset(inspect.signature(create_causal_mask).parameters)
#: What models call their KV cache; the other name still comes from callers (renamed in 5.24).
CACHE = "cache" if "cache" in _MASK_PARAMETERS else "past_key_values"
_CACHE_NAMES = ("cache", "past_key_values")
#: Before 5.19 a mask is always that of the first full layer, and its queries start at the
#: logical length.
MASKS_PER_LAYER = "layer_idx" in _MASK_PARAMETERS
#: Before 5.19 `Cache.crop` takes the length to keep; a negative count to remove works everywhere.
_CROPS_TO_LENGTH = "max_length" in inspect.signature(DynamicCache.crop).parameters

#: Cache layers that hold nothing (5.20: of layers without attention or with another one's keys).
EMPTY_LAYERS: tuple[type, ...] = tuple(
    getattr(cache_utils, name) for name in ("DummyLayer",) if hasattr(cache_utils, name)
)


def check_version(found: str = transformers.__version__) -> None:
    """Raises UnsupportedVersionError below the floor; warns once above the newest that was run."""
    if _numbers(found) < _numbers(FLOOR):
        raise UnsupportedVersionError(
            f"transformers must be at least {FLOOR}, got {found} (tested: {FLOOR} to {NEWEST}): "
            f"pip install 'transformers>={FLOOR},<={NEWEST}'"
        )
    if _numbers(found)[:2] > _numbers(NEWEST)[:2]:
        _warn_untested(found)


def older_than(version: str) -> bool:
    """Whether the installed transformers is."""
    return _numbers(transformers.__version__) < _numbers(version)


@cache
def _warn_untested(found: str) -> None:
    warnings.warn(
        f"transformers {found} is newer than {NEWEST}, the newest that stsprune was tested with: "
        "run `stsprune check --model ...` on your model before you rely on it",
        UntestedVersionWarning,
        stacklevel=5,
    )


def _numbers(version: str) -> tuple[int, ...]:
    parts = []
    for part in version.split(".")[:3]:
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        parts.append(int(digits or 0))
    return tuple(parts)


def with_pixels(modality: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """An encoder's arguments with its pixels under the name that the model's forward has for them.

    Before 5.19 some models' `get_video_features` calls them `pixel_values`.
    """
    if modality == "video" and "pixel_values_videos" not in arguments:
        videos = {"pixel_values_videos": arguments.get("pixel_values")}
        return {name: value for name, value in arguments.items() if name != "pixel_values"} | videos
    return arguments


def cache_of(kwargs: Mapping[str, Any]) -> Any:
    """The KV cache among a module's keyword arguments, under either name; None = none."""
    given = [kwargs[name] for name in _CACHE_NAMES if kwargs.get(name) is not None]
    return given[0] if given else None


def with_cache(kwargs: Mapping[str, Any], cache: Any) -> dict[str, Any]:
    """The keyword arguments with this cache under the name that models know, and no other."""
    return {name: kwargs[name] for name in kwargs if name not in _CACHE_NAMES} | {CACHE: cache}


def causal_mask(config: Any, hidden: Tensor, valid: Tensor | None, cache: Any, layer: int) -> Any:
    """Plain causal mask, made by transformers' own function for the model's backend.

    hidden [B, Q, Dim]: the queries; valid: bool [B, K] over cached and new keys, None = all.
    """
    if valid is None and cache is None:
        valid = hidden.new_ones(hidden.shape[:2], dtype=torch.bool)
    given = {"config": config, "inputs_embeds": hidden, "attention_mask": valid}
    if MASKS_PER_LAYER:
        given["layer_idx"] = layer
    elif cache is not None:
        cache = _OneLayer(cache, layer)
    return create_causal_mask(**given, **{CACHE: cache}, position_ids=None)


class _OneLayer:
    """A cache as older mask functions see it: this layer is the first, and lengths are physical."""

    is_sliding = (False,)
    is_compileable = False

    def __init__(self, cache: Any, layer: int) -> None:
        self._cache, self._layer = cache, layer

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self._cache.get_query_offset(self._layer)

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        return self._cache.get_mask_sizes(query_length, self._layer)


def tokens_to_crop(asked: int, length: int) -> int:
    """The argument of `Cache.crop` as a count to remove, negative; length: of the whole cache."""
    if asked > 0 and _CROPS_TO_LENGTH:
        return min(asked - length, 0)
    return asked
