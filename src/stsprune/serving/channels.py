"""Offsets that travel with a kept token's embedding, as further columns of its row.

vLLM caches encoder outputs per image and shares them between requests, so what was kept must be
read from the output itself. Columns have the embedding's number format: a bfloat16 holds whole
numbers up to 256 only, so each offset takes two columns.
"""

from __future__ import annotations

import torch
from torch import Tensor

AXES = 3
COLUMNS = 2 * AXES
_BASE = 128


def attach(rows: Tensor, offsets: Tensor) -> Tensor:
    """rows [K, Dim], offsets int64 [K, 3] in 0 .. 32767 -> [K, Dim + 6]."""
    both = torch.cat([offsets // _BASE, offsets % _BASE], 1)
    return torch.cat([rows, both.to(rows)], 1)


def detach(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The inverse of `attach`: ([K, Dim], int64 [K, 3])."""
    both = rows[:, -COLUMNS:].long()
    return rows[:, :-COLUMNS], both[:, :AXES] * _BASE + both[:, AXES:]
