"""Reading a layer's own queries and keys through a registered attention function.

The function stands in for the scoring layer's backend, sees q and k after norm and rotary
embedding, and hands on to that backend: the same path under eager, SDPA and FlashAttention.
"""

from __future__ import annotations

import copy
import itertools
import sys
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

_COUNTER = itertools.count()

Reader = Callable[[int, Tensor, Tensor, float], None]


class Capture:
    """Calls `reader(layer, queries, keys, scale)` for the attention modules that are armed.

    attentions: modules with a `config` that names their backend, numbered as layers; queries
    [B, H, T, d], keys [B, H_kv, T_k, d]. Only the armed modules' `config` attribute is exchanged;
    `disarm` puts the very same object back.
    """

    def __init__(self, attentions: Sequence[Any], reader: Reader) -> None:
        self._attentions, self._reader = attentions, reader
        self._numbers = {id(module): number for number, module in enumerate(attentions)}
        self._name = f"stsprune_{next(_COUNTER)}"
        self._armed: dict[int, Any] = {}
        ALL_ATTENTION_FUNCTIONS.register(self._name, self._attend)
        # A name without a mask function would silently mean "no mask" (transformers 5).
        backend = attentions[0].config._attn_implementation
        masks = ALL_MASK_ATTENTION_FUNCTIONS
        masks.register(self._name, masks[backend if backend in masks else "eager"])

    def arm(self, layer: int) -> None:
        """Read this decoder layer in its next forward passes."""
        module = self._attentions[layer]
        config = copy.copy(module.config)
        config._attn_implementation_internal = self._name
        self._armed[layer] = module.config
        module.config = config

    def disarm(self, layer: int | None = None) -> None:
        """Put the config of one layer, or of all, back."""
        for number in list(self._armed) if layer is None else [layer]:
            config = self._armed.pop(number, None)
            if config is not None:
                self._attentions[number].config = config

    def close(self) -> None:
        """Disarm everything and take the function out of the registries."""
        self.disarm()
        for registry in (ALL_ATTENTION_FUNCTIONS, ALL_MASK_ATTENTION_FUNCTIONS):
            type(registry)._global_mapping.pop(self._name, None)

    def _attend(
        self, module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **kwargs: Any
    ) -> Any:
        scale = kwargs.get("scaling")
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        number = self._numbers[id(module)]
        original = self._armed[number]
        eager = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(original._attn_implementation, eager)
        self._reader(number, query, key, scale)
        return attend(module, query, key, value, mask, **kwargs)
