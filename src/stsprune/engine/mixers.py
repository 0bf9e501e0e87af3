"""What mixes tokens in each decoder layer: attention, a scan over them, or nothing at all.

A scan (linear attention, Mamba, a short convolution) keeps a state of all that it was given and no
keys: removal is what pruning means there, and nothing can be hidden from it later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from stsprune.errors import UnsupportedModeError, UnsupportedModelError

from .compat import FLOOR, older_than

ATTENTION = frozenset({"full_attention", "sliding_attention", "chunked_attention"})
SCANS = frozenset({"linear_attention", "conv"})
#: Feed-forward layers of their own, in which no token sees another.
ALONE = frozenset({"moe", "mlp"})


def kind_of(config: Any, layer: int) -> str:
    """What a decoder layer is, as its config calls it.

    Raises UnsupportedModelError for kinds that pruning does not know.
    """
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        windowed = getattr(config, "sliding_window", None) is not None
        return "sliding_attention" if windowed else "full_attention"
    kind: str = kinds[layer]
    if kind not in ATTENTION | SCANS | ALONE:
        known = "full or sliding attention, linear attention or convolution"
        raise UnsupportedModelError(
            f"model must have {known} layers, got {kind!r} at layer {layer}"
        )
    return kind


def attends(config: Any, layer: int) -> bool:
    """Whether a decoder layer has attention, and so keys."""
    return kind_of(config, layer) in ATTENTION


def scans(config: Any, layer: int) -> bool:
    """Whether a decoder layer keeps a state in place of keys."""
    return kind_of(config, layer) in SCANS


def first_scan(decoder: Any) -> int | None:
    """The first decoder layer that scans; None = the model has keys of all that it saw."""
    layers = range(len(decoder.layers))
    return next((layer for layer in layers if scans(decoder.config, layer)), None)


def attentions(decoder: Any) -> list[Any]:
    """Every decoder layer's attention module; None where it has none."""
    names = ("self_attn", "mixer")
    return [
        next((getattr(layer, name) for name in names if hasattr(layer, name)), None)
        if attends(decoder.config, number)
        else None
        for number, layer in enumerate(decoder.layers)
    ]


def borrows(attention: Any) -> bool:
    """Whether an attention module has no keys of its own (see sharing.py)."""
    return bool(getattr(attention, "is_kv_shared_layer", False))


def scoring_layers(decoder: Any) -> tuple[int, ...]:
    """Decoder layers whose queries and own keys a semantic stage can read."""
    return tuple(
        number
        for number, attention in enumerate(attentions(decoder))
        if attention is not None and not borrows(attention)
    )


def check_layers(decoder: Any, since: str) -> None:
    """Layers that cannot be pruned exactly here. Raises UnsupportedModelError.

    since: the oldest transformers that the family is proven on. Layers that scan are proven from
    5.19 on: before, a later turn of several tokens began their state anew.
    """
    if first_scan(decoder) is not None and since == FLOOR:
        since = "5.19"
    if older_than(since):
        raise UnsupportedModelError(
            f"model must be run with transformers {since} or newer, {decoder.config.model_type} "
            "is not proven before"
        )


def check_reusable(decoder: Any) -> None:
    """A later question must be able to see what this one hides. Raises UnsupportedModeError."""
    layer = first_scan(decoder)
    if layer is not None:
        raise UnsupportedModeError(
            f"reusable must be False for a model whose layers scan: the state of layer {layer} "
            "cannot un-see a token"
        )


def check_rows(decoder: Any, counts: Sequence[Sequence[int]]) -> None:
    """A later turn of a batch must need no padding.

    counts: per row, its tokens per decoder layer. Raises UnsupportedModeError.
    """
    if any(row != counts[0] for row in counts):
        _refuse_padding(decoder)


def check_later(decoder: Any, later: Tensor | None) -> None:
    """As `check_rows`; later: bool [B, n], mask of the tokens behind a prompt, None = all real."""
    if later is not None and first_scan(decoder) is not None and not bool(later.all()):
        _refuse_padding(decoder)


def _refuse_padding(decoder: Any) -> None:
    layer = first_scan(decoder)
    if layer is not None:
        raise UnsupportedModeError(
            "a later turn of a batch must bring rows of equal length, pruned ones too: padding "
            f"between two turns would reach the state of layer {layer}, which scans its tokens"
        )
