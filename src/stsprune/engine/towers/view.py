"""What a tower's patches attend to, beside any attention backend and without the full matrix."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..capture import Capture
from .base import Tower
from .mosaic import Mosaic

#: Queries whose weights are held at once where the mean over all of them is asked for.
BLOCK = 256


@dataclass
class Viewed:
    """What one encoding saw, per picture and its visual tokens in order.

    received: float [N], the attention that a token receives, mean over heads, over its patches and
    over the queries that see it (from the class token alone where there is one, `from_cls`); keys
    [N, d], heads side by side, mean over its patches; layers [N, L]: as `received`, from all
    queries, in each layer that was asked for by its share. Where pictures make a mosaic, each is
    the image.
    """

    from_cls: bool
    shares: tuple[float, ...] = ()
    received: list[Tensor] = field(default_factory=list)
    keys: list[Tensor] = field(default_factory=list)
    layers: list[Tensor] = field(default_factory=list)

    def join(self, mosaics: Sequence[Mosaic]) -> None:
        """Images in place of their pictures."""
        received = [part[:, None] for part in self.received]
        self.received = [part[:, 0] for part in _joined(received, mosaics)]
        self.keys = _joined(self.keys, mosaics)
        self.layers = _joined(self.layers, mosaics)


class TowerView:
    """Reads the tower's second last layer; with windows its last layer that sees whole frames.

    shares: of the layers whose output counts, further ones to read: 0.5 is the middle one, 1 the
    last; with windows the nearest layer that sees whole frames.
    """

    def __init__(self, tower: Tower, shares: Sequence[float] = ()) -> None:
        self.tower = tower
        depth, full = len(tower.blocks), tower.full
        last = depth - 2 if full is None else max(full)
        self.last = max(last, 0)
        asked = [max(math.ceil(share * tower.used - 1e-9) - 1, 0) for share in shares]
        if full is not None:
            asked = [min(full, key=lambda layer: abs(layer - wanted)) for wanted in asked]
        self.shares, self.further = tuple(shares), asked

    def install(self, undo: ExitStack, modality: str, arguments: Mapping[str, Any]) -> Viewed:
        """Read the next encoding; `undo` ends it, and then the answer is whole."""
        tower, order = self.tower, self.tower.order
        viewed = Viewed(order.prefix == 1, self.shares)
        received: list[Tensor] = []
        keys: list[Tensor] = []
        layers: dict[int, list[Tensor]] = {layer: [] for layer in self.further}

        def read(layer: int, queries: Tensor, its_keys: Tensor, scale: float) -> None:
            for span in self._spans(modality, arguments, its_keys.shape[2]):
                pair = queries[:, :, span], its_keys[:, :, span]
                if layer in layers:
                    layers[layer].append(_received(*pair, scale, from_cls=False))
                if layer == self.last:
                    received.append(_received(*pair, scale, from_cls=viewed.from_cls))
                    keys.append(pair[1].transpose(1, 2).flatten(2))

        def finish() -> None:
            if not received:
                return
            parts = [received, keys, *(layers[layer] for layer in self.further)]
            shares, vectors, *others = (torch.cat(part, 1)[:, order.prefix :] for part in parts)
            start = 0
            for number, grid in enumerate(tower.grids(modality, arguments, len(shares))):
                row, at = (0, start) if tower.packed else (number, 0)
                places = order.places(grid).to(vectors.device, non_blocking=True) + at
                viewed.received.append(shares[row][places].mean(-1))
                viewed.keys.append(vectors[row][places].mean(-2))
                if others:
                    rows = [other[row][places].mean(-1) for other in others]
                    viewed.layers.append(torch.stack(rows, -1))
                start += order.patches(grid)
            if tower.mosaics is not None:
                viewed.join(tower.mosaics(modality, arguments))

        undo.callback(finish)
        capture = Capture(tower.attentions, read)
        undo.callback(capture.close)
        for layer in {self.last, *self.further}:
            capture.arm(layer)
        return viewed

    def _spans(self, modality: str, arguments: Mapping[str, Any], length: int) -> list[slice]:
        """Stretches of a sequence whose patches all see each other."""
        tower = self.tower
        if not tower.packed:
            return [slice(None)]
        grids = tower.grids(modality, arguments, 1)
        frames = [(1, high, wide) for count, high, wide in grids for _ in range(count)]
        lengths = [tower.order.patches(frame) for frame in frames]
        # Without FlashAttention Qwen's towers come frame by frame.
        lengths = lengths if length == sum(lengths) else [length]
        ends = torch.tensor(lengths).cumsum(0).tolist()
        return [slice(end - n, end) for end, n in zip(ends, lengths, strict=True)]


def _received(queries: Tensor, keys: Tensor, scale: float, *, from_cls: bool) -> Tensor:
    """float32 [B, P] of queries and keys [B, H, P, d] that all see each other."""
    asked = queries[:, :, :1] if from_cls else queries
    total = keys.new_zeros(keys.shape[0], keys.shape[2], dtype=torch.float32)
    turned = keys.float().transpose(-1, -2)
    for part in asked.split(BLOCK, 2):
        total += (part.float() @ turned * scale).softmax(-1).sum((1, 2))
    return total / (asked.shape[1] * asked.shape[2])


def _joined(parts: Sequence[Tensor], mosaics: Sequence[Mosaic]) -> list[Tensor]:
    """Per picture [P, C] -> per image [N, C]."""
    found, rest = [], list(parts)
    for mosaic in mosaics if rest else ():
        found.append(mosaic.tokens(torch.stack(rest[: mosaic.pictures])))
        rest = rest[mosaic.pictures :]
    assert not rest
    return found
