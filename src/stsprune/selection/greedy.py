"""The greedy loop in torch without allocations, and the choice between it and the fused kernel."""

from __future__ import annotations

import torch
from torch import Tensor

from .kernels import usable
from .swaps import best_swaps


def greedy(table: Tensor, first: Tensor, keep: int, logarithm: bool, refine: int) -> Tensor:
    """`greedy_reference`, then `best_swaps`, by the fastest path there is for these tensors.

    On a GPU with Triton one kernel does both; it knows potentials only, so their logarithms take
    the torch loop everywhere.
    """
    if not logarithm and usable(table):
        from .kernels.repulsion import fused_greedy

        return fused_greedy(table, first, keep, refine)
    kept = greedy_in_place(table, first, keep, logarithm)
    return best_swaps(table, kept, refine, logarithm) if refine else kept


def greedy_in_place(table: Tensor, first: Tensor, keep: int, logarithm: bool) -> Tensor:
    """Equals `greedy_reference`; arguments as there."""
    batch, tokens, _ = table.shape
    rows = table.view(batch * tokens, tokens)
    start = torch.arange(batch, device=table.device) * tokens
    order = torch.empty(keep, batch, dtype=torch.int64, device=table.device)
    order[0] = first
    at = start + first
    potential = rows.index_select(0, at)
    row = torch.empty_like(potential)
    add = torch.logaddexp if logarithm else torch.add
    for step in range(1, keep):
        # The lowest index on ties: torch does not promise it, tests hold it.
        torch.argmin(potential, 1, out=order[step])
        torch.add(order[step], start, out=at)
        torch.index_select(rows, 0, at, out=row)
        add(potential, row, out=potential)
    return order.T.contiguous()
