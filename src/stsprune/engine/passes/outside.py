"""Forward passes where no `prune` block is active: the cache's own hooks, one pass long."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Sequence
from typing import Any

from stsprune.errors import UnsupportedModeError

from ..cache import FreeCache
from ..compat import MASKS_PER_LAYER, cache_of
from .decode import Decode


class CacheHome:
    """The model that filled a cache, as far as decoding outside needs it, and without holding it.

    Its rotary offset (mRoPE's `rope_deltas`) is state of the model, which leaving a block restores:
    the cache brings it back.
    """

    def __init__(self, inner: Any, decoder: Any) -> None:
        self._inner, self._decoder = weakref.ref(inner), weakref.ref(decoder)
        self._deltas = getattr(inner, "rope_deltas", None)

    def before_positions(self) -> None:
        """See `cache.Home`."""
        inner = self._inner()
        if inner is not None and self._deltas is not None:
            inner.rope_deltas = self._deltas

    def before_masks(self, cache: FreeCache, new: int) -> None:
        """See `cache.Home`: hook the decoder's layers until the last one has been entered."""
        decoder = self._decoder()
        if decoder is None:
            raise UnsupportedModeError("the model that filled this KV cache no longer exists")
        if new > 1 and cache.groups[0].dropped.shape[0] > 1:
            raise UnsupportedModeError(
                "a later turn of several tokens in a batch needs its padding mask: run it inside "
                "`with stsprune.prune(model, method):`"
            )
        # Transformers then builds the mask from the caller's, which is right without padding only.
        plain = Decode(decoder, cache).plain
        if MASKS_PER_LAYER and new == 1 and plain and not cache.padded:
            return
        cache.running = _Hooked(decoder, cache)


class _Hooked:
    """Hooks of one pass. They hold the cache weakly: with a cache whose pass broke off they go."""

    def __init__(self, decoder: Any, cache: FreeCache) -> None:
        self.step: Decode | None = None
        alive = weakref.ref(cache, lambda _: _remove(handles))
        last = len(decoder.layers) - 1

        def hook(number: int, module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
            owner = alive()
            if owner is None or cache_of(kwargs) is not owner:
                return None
            run = owner.running
            if number == 0:  # anew, should an earlier pass have been broken off
                run.step = Decode(decoder, owner)
            hidden, kwargs = run.step.before_layer(number, args[0], kwargs)
            if number == last:
                run.stop()
                owner.running = None
            return (hidden, *args[1:]), kwargs

        handles = [
            layer.register_forward_pre_hook(functools.partial(hook, number), with_kwargs=True)
            for number, layer in enumerate(decoder.layers)
        ]
        self._handles = handles

    def stop(self) -> None:
        """Take the hooks off."""
        _remove(self._handles)


def _remove(handles: Sequence[Any]) -> None:
    for handle in handles:
        handle.remove()
