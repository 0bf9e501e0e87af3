"""Reading a layer's own queries and keys on their way to its attention function.

Transformers' attention modules ask one registry for their backend's function. While a layer is
armed the registry hands out the same function with a reader before it, which sees q and k after
norm and rotary embedding: the same path under eager, SDPA and FlashAttention. Neither the model nor
its config changes, so whatever branches on the backend's name goes on as always.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from stsprune.errors import UnsupportedModelError

Reader = Callable[[int, Tensor, Tensor, float], None]

#: id of an armed attention module -> what is to see its queries, keys and scale
_ARMED: dict[int, Callable[[Tensor, Tensor, float], None]] = {}
_LOCK = threading.Lock()


class Capture:
    """Calls `reader(layer, queries, keys, scale)` for the attention modules that are armed.

    attentions: modules that take their function from transformers' registry, numbered as layers;
    queries [B, H, T, d], keys [B, H_kv, T_k, d].
    """

    def __init__(self, attentions: Sequence[Any], reader: Reader) -> None:
        self._attentions, self._reader = attentions, reader
        self._unread: set[int] = set()
        self._armed: set[int] = set()

    def arm(self, layer: int) -> None:
        """Read this decoder layer in its next forward pass."""

        def read(queries: Tensor, keys: Tensor, scale: float) -> None:
            self._unread.discard(layer)
            self._reader(layer, queries, keys, scale)

        self._armed.add(layer)
        self._unread.add(layer)
        with _LOCK:
            _ARMED[id(self._attentions[layer])] = read
            vars(ALL_ATTENTION_FUNCTIONS)["get_interface"] = _reading_interface

    def disarm(self, layer: int) -> None:
        """Behind a layer's pass. Raises UnsupportedModelError where nothing came by."""
        if layer not in self._armed:
            return
        self._close([layer])
        if layer in self._unread:
            raise UnsupportedModelError(
                f"model must take its attention function from transformers' registry: layer {layer}"
                " did not, so that its scores cannot be read"
            )

    def close(self) -> None:
        """Disarm all layers; the registry is as it was when nobody else reads."""
        self._close(list(self._armed))

    def _close(self, layers: Sequence[int]) -> None:
        self._armed.difference_update(layers)
        with _LOCK:
            for layer in layers:
                _ARMED.pop(id(self._attentions[layer]), None)
            if not _ARMED:
                vars(ALL_ATTENTION_FUNCTIONS).pop("get_interface", None)


def _reading_interface(name: str, default: Callable[..., Any]) -> Callable[..., Any]:
    """`AttentionInterface.get_interface` while any module is armed."""
    registry = ALL_ATTENTION_FUNCTIONS
    attend = type(registry).get_interface(registry, name, default)

    def attend_and_read(module: Any, query: Tensor, key: Tensor, *args: Any, **kwargs: Any) -> Any:
        read = _ARMED.get(id(module))
        if read is not None:
            scale = kwargs.get("scaling")
            read(query, key, query.shape[-1] ** -0.5 if scale is None else scale)
        return attend(module, query, key, *args, **kwargs)

    return attend_and_read
