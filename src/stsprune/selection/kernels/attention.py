"""Stage 2's scores in one kernel: a program per image and head, nothing of size T x N is stored.

First the softmax's denominators, one per query, then the shares, summed (or their largest) over the
queries while they are in registers. The heads' rows are joined by one reduction in torch, because
adding them atomically would make the order of the sum, and so the last bit, a matter of chance.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


def fused_scores(
    queries: Tensor, keys: Tensor, weights: Tensor, scale: float, peak: bool
) -> Tensor:
    """`instruction_scores`, or with `peak` the largest share of any head and query of weight > 0.

    queries [I, H, T, d], keys [I, H_kv, N, d], weights [I, T] -> float32 [I, N].
    """
    images, heads, length, width = queries.shape
    kv_heads, tokens = keys.shape[1], keys.shape[2]
    rows = torch.empty(images, heads, tokens, dtype=torch.float32, device=queries.device)
    totals = torch.empty(images, heads, length, dtype=torch.float32, device=queries.device)
    queries = queries if queries.stride(-1) == 1 else queries.contiguous()
    keys = keys if keys.stride(-1) == 1 else keys.contiguous()
    _scores[(images, heads)](
        queries,
        keys,
        weights.float().contiguous(),
        rows,
        totals,
        length,
        tokens,
        width,
        scale,
        heads // kv_heads,
        *queries.stride()[:3],
        *keys.stride()[:3],
        PEAK=peak,
        BLOCK_T=16,
        BLOCK_N=64,
        BLOCK_D=max(16, triton.next_power_of_2(width)),
        enable_fp_fusion=False,
    )
    return rows.amax(1) if peak else rows.mean(1)


@triton.jit
def _logits(
    queries, keys, query, key, length, tokens, width, scale, q_row, k_row, BLOCK_D: tl.constexpr
):
    """q . k * scale for one block: float32 [BLOCK_T, BLOCK_N], -inf outside."""
    d = tl.arange(0, BLOCK_D)
    q = tl.load(
        queries + query[:, None] * q_row + d[None, :],
        mask=(query[:, None] < length) & (d[None, :] < width),
        other=0.0,
    )
    k = tl.load(
        keys + key[None, :] * k_row + d[:, None],
        mask=(key[None, :] < tokens) & (d[:, None] < width),
        other=0.0,
    )
    # Half precision is multiplied exactly and summed in float32; no TF32.
    product = tl.dot(q, k, input_precision="ieee") * scale
    return tl.where(key[None, :] < tokens, product, float("-inf"))


@triton.jit
def _scores(
    queries,
    keys,
    weights,
    rows,
    totals,
    length,
    tokens,
    width,
    scale,
    group,
    q_image,
    q_head,
    q_row,
    k_image,
    k_head,
    k_row,
    PEAK: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    image = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    own = image * tl.num_programs(1) + head
    queries += image * q_image + head * q_head
    keys += image * k_image + (head // group) * k_head
    weights += image * length
    totals += own * length
    rows += own * tokens
    for first in range(0, length, BLOCK_T):
        query = first + tl.arange(0, BLOCK_T)
        most = tl.full([BLOCK_T], float("-inf"), tl.float32)
        total = tl.zeros([BLOCK_T], tl.float32)
        for start in range(0, tokens, BLOCK_N):
            key = start + tl.arange(0, BLOCK_N)
            logits = _logits(
                queries, keys, query, key, length, tokens, width, scale, q_row, k_row, BLOCK_D
            )
            larger = tl.maximum(most, tl.max(logits, 1))
            total = total * tl.exp(most - larger) + tl.sum(tl.exp(logits - larger[:, None]), 1)
            most = larger
        tl.store(totals + query, most + tl.log(total), mask=query < length)
    tl.debug_barrier()  # the totals were written by other threads
    for start in range(0, tokens, BLOCK_N):
        key = start + tl.arange(0, BLOCK_N)
        score = tl.zeros([BLOCK_N], tl.float32)
        for first in range(0, length, BLOCK_T):
            query = first + tl.arange(0, BLOCK_T)
            logits = _logits(
                queries, keys, query, key, length, tokens, width, scale, q_row, k_row, BLOCK_D
            )
            total = tl.load(totals + query, mask=query < length, other=float("inf"))
            weight = tl.load(weights + query, mask=query < length, other=0.0)
            shares = tl.exp(logits - total[:, None])
            if PEAK:
                shares = tl.where(weight[:, None] > 0, shares, 0.0)
                score = tl.maximum(score, tl.max(shares, 0))
            else:
                score += tl.sum(shares * weight[:, None], 0)
        tl.store(rows + key, score, mask=key < tokens)
