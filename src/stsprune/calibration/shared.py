"""What all methods share of a batch: encoded pictures and the order of the structure stage."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from ..engine.families import family_of
from ..method import STS
from ..method.base import Method, VisualTokens
from ..method.wrapped import Wrapped
from ..selection.budget import kept_tokens

Outputs = dict[str, Any]


@contextmanager
def encoded_once(model: Any, outputs: Outputs, family: str | None = None) -> Iterator[None]:
    """The model's encoder answers from `outputs` where it can and fills them where it must.

    outputs: of one batch, by the encoder's name; every call inside must be about that batch. The
    engine wraps the same functions inside `prune` and sees the pictures' shapes as ever. family: as
    for `prune`.
    """
    adapter = family_of(model, family)
    inner = adapter.inner(model)
    with ExitStack() as undo:
        for kind in adapter.modalities:
            name = f"get_{kind}_features"
            before = inner.__dict__.get(name)
            inner.__dict__[name] = _kept(getattr(inner, name), name, outputs)
            if before is None:
                undo.callback(inner.__dict__.pop, name)
            else:
                undo.callback(inner.__dict__.__setitem__, name, before)
        yield


def _kept(original: Callable[..., Any], name: str, outputs: Outputs) -> Callable[..., Any]:
    @functools.wraps(original)
    def encode(*args: Any, **kwargs: Any) -> Any:
        if name not in outputs:
            outputs[name] = original(*args, **kwargs)
        return outputs[name]

    return encode


class Nested(Wrapped):
    """STS whose order of sampling is computed once: the first K of it are its choice of K.

    orders: of one batch, by image; what is there already is cut, what is not is added.
    """

    def __init__(self, inner: Method, orders: dict[Any, Tensor]) -> None:
        super().__init__(inner)
        self.orders = orders

    def select(self, visual: VisualTokens, keep: int) -> Tensor:
        """See `Method.select`."""
        inner = self.inner
        if type(inner) is not STS:
            return inner.select(visual, keep)
        keys = [
            (inner.space, inner.exponent, inner.eps, visual.grid, image) for image in visual.images
        ]
        if any(key not in self.orders or len(self.orders[key]) < keep for key in keys):
            self.orders.update(zip(keys, inner.select(visual, keep), strict=True))
        return torch.stack([self.orders[key][:keep] for key in keys])

    def counts(self, visual: VisualTokens) -> Tensor:
        """See `Method.counts`: along the order that is known."""
        inner = self.inner
        if type(inner) is not STS:
            return inner.counts(visual)
        most = kept_tokens(inner.budget, visual.features.shape[1])
        return inner.counts_along(visual, self.select(visual, most))


def bytes_of(value: Any) -> int:
    """Bytes of all tensors in nested lists, tuples and mappings."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, Mapping):
        return sum(bytes_of(part) for part in value.values())
    if isinstance(value, list | tuple):
        return sum(bytes_of(part) for part in value)
    return 0
