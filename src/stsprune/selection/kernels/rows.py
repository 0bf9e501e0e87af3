"""Greedy selection of one image without a table: a kernel launch per step, a program per block.

A step finds the token of lowest potential among the lowest ones of all blocks, then adds what that
token makes to the potentials of its own block. Launches run in order, so nothing else has to wait.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..distance import weights
from ..rows import Rows
from ..upload import upload

BLOCK, CHUNK = 64, 64
#: Half exponents whose power is a division.
PLAIN = (-1.0, -2.0)


def fused_rows(rows: Rows, first: Tensor, keep: int) -> Tensor:
    """`greedy_reference` of one image, for potentials (not their logarithms).

    first: int64 [1] -> int64 [keep]. Products are summed in float32, float64 for float64 features.
    """
    points, tokens = rows.points.contiguous(), rows.tokens
    where = rows.where.T.contiguous()
    blocks, width = triton.cdiv(tokens, BLOCK), points.shape[1]
    half = -rows.exponent / 2
    numbers = [rows.space / len(where), rows.offset, half]
    settings = upload(numbers, points.device).to(rows.own.dtype)
    order = first.new_empty(keep)
    # A step reads what the one before it found while its own blocks write: two places, in turns.
    least = rows.own.new_zeros(2, blocks)
    lowest = first.expand(2, blocks).contiguous()
    potential = torch.zeros_like(rows.own)
    squares = torch.empty_like(rows.own)
    shape = {"BLOCK": BLOCK, "CHUNK": CHUNK, "num_warps": 4}
    _squares[(blocks,)](points, squares, tokens, width, **shape, enable_fp_fusion=False)
    # From products in the kernel's own order, so that copies come out at distance 0.
    left, right, own = weights(squares, rows.space)
    for step in range(keep):
        _step[(blocks,)](
            points,
            left,
            right,
            own,
            where,
            potential,
            settings,
            least[1 - step % 2],
            lowest[1 - step % 2],
            least[step % 2],
            lowest[step % 2],
            order[step:],
            tokens,
            width,
            blocks,
            AXES=len(where),
            HALF=half if half in PLAIN else 0.0,
            BLOCKS=triton.next_power_of_2(blocks),
            **shape,
            enable_fp_fusion=False,  # so that it rounds as torch does
        )
    return order


@triton.jit
def _squares(points, squares, tokens, width, BLOCK: tl.constexpr, CHUNK: tl.constexpr):
    """The Gram product's diagonal, summed in the order of `_step`."""
    number = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = number < tokens
    rows = points + number[:, None].to(tl.int64) * width
    total = tl.zeros([BLOCK, CHUNK], dtype=squares.dtype.element_ty)
    for start in range(0, width, CHUNK):
        at = start + tl.arange(0, CHUNK)
        held = inside[:, None] & (at < width)[None, :]
        mine = tl.load(rows + at[None, :], mask=held, other=0.0).to(total.dtype)
        total += mine * mine
    tl.store(squares + number, tl.sum(total, 1), mask=inside)


@triton.jit
def _step(
    points,
    left,
    right,
    own,
    where,
    potential,
    settings,
    last_least,
    last_lowest,
    least,
    lowest,
    chosen,
    tokens,
    width,
    blocks,
    AXES: tl.constexpr,
    HALF: tl.constexpr,
    BLOCKS: tl.constexpr,
    BLOCK: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """One token is chosen, and its potentials are added: HALF = 0 means any exponent."""
    block = tl.program_id(0)
    part = tl.arange(0, BLOCKS)
    seen = tl.load(last_least + part, mask=part < blocks, other=float("inf"))
    best = tl.minimum(tl.argmin(seen, 0, tie_break_left=True), blocks - 1)
    token = tl.load(last_lowest + best)
    if block == 0:
        tl.store(chosen, token)

    number = block * BLOCK + tl.arange(0, BLOCK)
    inside = number < tokens
    rows = points + number[:, None].to(tl.int64) * width
    total = tl.zeros([BLOCK, CHUNK], dtype=potential.dtype.element_ty)
    for start in range(0, width, CHUNK):
        at = start + tl.arange(0, CHUNK)
        held = inside[:, None] & (at < width)[None, :]
        mine = tl.load(rows + at[None, :], mask=held, other=0.0).to(total.dtype)
        its = tl.load(points + token * width + at, mask=at < width, other=0.0).to(total.dtype)
        total += mine * its[None, :]
    squared = tl.sum(total, 1)
    squared *= tl.load(left + token)
    squared *= tl.load(right + number, mask=inside, other=0.0)
    squared += tl.load(own + token)
    squared += tl.load(own + number, mask=inside, other=0.0)
    squared = tl.maximum(squared, 0.0)

    apart = tl.zeros([BLOCK], dtype=potential.dtype.element_ty)
    for axis in tl.static_range(AXES):
        line = where + axis * tokens
        gap = tl.load(line + token) - tl.load(line + number, mask=inside, other=0.0)
        apart += gap * gap
    squared += apart * tl.load(settings) + tl.load(settings + 1)
    if HALF == -2.0:
        made = 1.0 / (squared * squared)
    elif HALF == -1.0:
        made = 1.0 / squared
    else:
        made = tl.exp(tl.log(squared) * tl.load(settings + 2))

    now = tl.load(potential + number, mask=inside, other=0.0) + made
    now = tl.where(inside & (number != token), now, float("inf"))  # nothing is chosen twice
    tl.store(potential + number, now, mask=inside)
    here = tl.argmin(now, 0, tie_break_left=True)
    here = tl.minimum(block * BLOCK + here, tokens - 1)  # NaN must not lead out of the image
    tl.store(least + block, tl.min(now, 0))
    tl.store(lowest + block, here.to(tl.int64))
