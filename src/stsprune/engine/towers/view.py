"""What a tower's patches attend to, beside any attention backend and without the full matrix."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..capture import Capture
from .base import Grid, Tower

#: Queries whose weights are held at once where the mean over all of them is asked for.
BLOCK = 256


@dataclass
class Viewed:
    """What one encoding saw, per picture and its visual tokens in order.

    received: float [N], the attention that a token receives, mean over heads, over its patches and
    over the queries that see it (from the class token alone where there is one, `from_cls`); keys
    [N, d], heads side by side, mean over its patches; grids: of the pictures.
    """

    from_cls: bool
    grids: list[Grid] = field(default_factory=list)
    received: list[Tensor] = field(default_factory=list)
    keys: list[Tensor] = field(default_factory=list)


class TowerView:
    """Reads the tower's second last layer; with windows its last layer that sees whole frames."""

    def __init__(self, tower: Tower) -> None:
        self.tower = tower
        number = len(tower.blocks) - 2 if tower.full is None else max(tower.full)
        self.attention = tower.attentions[max(number, 0)]

    def install(self, undo: ExitStack, modality: str, arguments: Mapping[str, Any]) -> Viewed:
        """Read the next encoding; `undo` ends it, and then the answer is whole."""
        tower, order = self.tower, self.tower.order
        viewed, parts = Viewed(order.prefix == 1), []

        def read(number: int, queries: Tensor, keys: Tensor, scale: float) -> None:
            lengths = None
            if tower.packed:
                grids = tower.grids(modality, arguments, 1)
                frames = [(1, high, wide) for count, high, wide in grids for _ in range(count)]
                lengths = [order.patches(frame) for frame in frames]
                # Without FlashAttention Qwen's towers come frame by frame.
                lengths = lengths if keys.shape[2] == sum(lengths) else [keys.shape[2]]
            spans = [slice(None)]
            if lengths is not None:
                ends = torch.tensor(lengths).cumsum(0).tolist()
                spans = [slice(end - n, end) for end, n in zip(ends, lengths, strict=True)]
            for span in spans:
                shares = _received(queries[:, :, span], keys[:, :, span], scale, viewed.from_cls)
                parts.append((shares, keys[:, :, span].transpose(1, 2).flatten(2)))

        def finish() -> None:
            if not parts:
                return
            received = torch.cat([part for part, _ in parts], 1)[:, order.prefix :]
            keys = torch.cat([part for _, part in parts], 1)[:, order.prefix :]
            viewed.grids = tower.grids(modality, arguments, len(received))
            start = 0
            for number, grid in enumerate(viewed.grids):
                row, at = (0, start) if tower.packed else (number, 0)
                places = order.places(grid).to(keys.device, non_blocking=True) + at
                viewed.received.append(received[row][places].mean(-1))
                viewed.keys.append(keys[row][places].mean(-2))
                start += order.patches(grid)

        undo.callback(finish)
        capture = Capture([self.attention], read)
        undo.callback(capture.close)
        capture.arm(0)
        return viewed


def _received(queries: Tensor, keys: Tensor, scale: float, from_cls: bool) -> Tensor:
    """float32 [B, P] of queries and keys [B, H, P, d] that all see each other."""
    asked = queries[:, :, :1] if from_cls else queries
    total = keys.new_zeros(keys.shape[0], keys.shape[2], dtype=torch.float32)
    turned = keys.float().transpose(-1, -2)
    for part in asked.split(BLOCK, 2):
        total += (part.float() @ turned * scale).softmax(-1).sum((1, 2))
    return total / (asked.shape[1] * asked.shape[2])
