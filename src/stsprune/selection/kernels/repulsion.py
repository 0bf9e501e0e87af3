"""The whole greedy selection, and its swaps, in one kernel: a program per image.

Potentials stay in registers; every step is one row of the table, one addition and one argmin.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..swaps import MARGIN


def fused_greedy(table: Tensor, first: Tensor, keep: int, refine: int = 0) -> Tensor:
    """`greedy_reference` and then `best_swaps`, for potentials (not their logarithms).

    table: float32 or float64 [B, N, N], contiguous, inf on the diagonal; first: int64 [B] ->
    int64 [B, keep].
    """
    batch, tokens, _ = table.shape
    order = torch.empty(batch, keep, dtype=torch.int64, device=table.device)
    behind = table.new_empty((batch, keep, tokens) if refine else (1,))
    block = triton.next_power_of_2(tokens)
    _greedy[(batch,)](
        table,
        first,
        order,
        behind,
        tokens,
        keep,
        refine,
        1 - MARGIN,
        BLOCK=block,
        SWAPS=refine > 0,
        num_warps=min(16, max(4, block // 512)),
        enable_fp_fusion=False,  # so that it rounds as torch does
    )
    return order


@triton.jit
def _row(table, token, column, tokens):
    """Potentials that `token` makes; 64-bit offsets, a table of 16,384 tokens has 2^28 entries."""
    return tl.load(table + token * tokens + column, mask=column < tokens, other=float("inf"))


@triton.jit
def _greedy(
    table,
    first,
    order,
    behind,
    tokens,
    keep,
    rounds,
    margin,
    BLOCK: tl.constexpr,
    SWAPS: tl.constexpr,
):
    image = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    table += image * tokens * tokens
    order += image * keep
    token = tl.load(first + image)
    tl.store(order, token)
    potential = _row(table, token, column, tokens)
    for step in range(1, keep):
        token = tl.argmin(potential, 0, tie_break_left=True)
        token = tl.minimum(token, tokens - 1).to(tl.int64)  # NaN must not lead out of the table
        tl.store(order + step, token)
        potential += _row(table, token, column, tokens)
    if SWAPS:
        behind += image * keep * tokens
        for _ in range(rounds):
            _swap(table, order, behind, tokens, keep, margin, column, BLOCK)


@triton.jit
def _swap(table, order, behind, tokens, keep, margin, column, BLOCK: tl.constexpr):
    """The best single swap, see `best_swaps`: sums over all kept tokens but one, from both ends."""
    inside = column < tokens
    tl.debug_barrier()  # `order` was written by other threads
    total = tl.zeros([BLOCK], dtype=table.dtype.element_ty)
    kept = column < 0
    for back in range(keep):
        place = keep - 1 - back
        token = tl.load(order + place)
        tl.store(behind + place * tokens + column, total, mask=inside)
        total += _row(table, token, column, tokens)
        kept |= column == token
    tl.debug_barrier()
    total = tl.zeros([BLOCK], dtype=table.dtype.element_ty)
    best = tl.min(total, 0)
    best_place = tl.full((), 0, tl.int32)
    best_token = tl.load(order)
    for place in range(keep):
        token = tl.load(order + place)
        others = total + tl.load(behind + place * tokens + column, mask=inside, other=0.0)
        total += _row(table, token, column, tokens)
        now = tl.min(tl.where(column == token, others, float("inf")), 0)
        offers = tl.where(inside & (kept == 0), others, float("inf"))
        other = tl.argmin(offers, 0, tie_break_left=True).to(tl.int64)
        offer = tl.min(offers, 0)
        gain = tl.where(offer < now * margin, now - offer, 0.0)
        better = gain > best
        best_place = tl.where(better, place, best_place)
        best_token = tl.where(better, other, best_token)
        best = tl.where(better, gain, best)
    tl.debug_barrier()
    tl.store(order + best_place, best_token)  # the first token itself where nothing is better
