"""Workers of one tensor-parallel group must keep the same tokens.

Each of them computes the features; one differing bit may turn one choice, and the group would go on
with rows that do not belong together. So the first worker chooses and the others take its choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def agreed(
    choose: Callable[[], Sequence[Tensor]],
    lengths: Sequence[int],
    group: Any,
    device: torch.device,
) -> list[Tensor]:
    """What `choose` returns on the group's first worker, on all of them: int64 [K] per image.

    lengths: the K of every image, which all workers know; group: vLLM's group of workers (its
    `world_size`, `rank_in_group` and `broadcast` are used).
    """
    if group.world_size == 1:
        return list(choose())
    if group.rank_in_group == 0:
        kept = torch.cat(list(choose()))
    else:
        kept = torch.empty(sum(lengths), dtype=torch.int64, device=device)
    return list(group.broadcast(kept, src=0).split(list(lengths)))
