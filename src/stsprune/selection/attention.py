"""Stage 2, semantics: how much the instruction looks at each visual token."""

from __future__ import annotations

import torch
from torch import Tensor

from .kernels import usable
from .upload import upload


def instruction_scores(queries: Tensor, keys: Tensor, weights: Tensor, scale: float) -> Tensor:
    """score_j = sum_t w_t mean_h softmax_j(q[h, t] . k[h, j] * scale), higher = more relevant.

    queries [I, H, T, d] of the instruction's tokens and keys [I, H_kv, N, d] of an image's visual
    tokens, both after the rotary embedding; H is a multiple of H_kv (grouped-query attention);
    weights [I, T], 0 for padding. Returns float32 [I, N]; rows sum to the sum of their weights.
    O(T * N) per head: the full attention matrix is never built. On a GPU with Triton one kernel,
    which stores nothing of that size either.
    """
    if usable(queries):
        return _fused(queries, keys, weights, scale, peak=False)
    images, heads, length, width = queries.shape
    grouped = queries.reshape(images, keys.shape[1], -1, width).float()
    logits = grouped @ keys.float().transpose(-1, -2) * scale  # [I, H_kv, H / H_kv * T, N]
    shares = logits.softmax(-1).reshape(images, heads, length, -1).mean(1)
    return (weights[:, None, :].float() @ shares).squeeze(1)


def top_indices(scores: Tensor, keep: int) -> Tensor:
    """The `keep` highest of scores [I, N], ties to the lowest index, ascending: int64 [I, keep]."""
    order = scores.sort(dim=-1, descending=True, stable=True).indices
    return order[:, :keep].sort(-1).values


def query_weights(counts: list[int], length: int, rule: str, device: torch.device) -> Tensor:
    """w_t of right-aligned instruction tokens: [I, length].

    counts: real tokens per image; rule: "last" (the prompt's last token alone, FastV's rule) or
    "all" (equal shares).
    """
    weights = torch.zeros(len(counts), length)
    for i, count in enumerate(counts):
        used = 1 if rule == "last" else count
        weights[i, length - used :] = 1.0 / used
    return weights.to(device, non_blocking=True)


def attention_shares(queries: Tensor, keys: Tensor, scale: float, log_total: Tensor) -> Tensor:
    """The layer's own attention from text to visual tokens, mean over heads: [I, T, N].

    A[h, t, j] = exp(q[h, t] . k[h, j] * scale - log_total[h, t]): the softmax runs over everything
    that the query may attend to, text included. queries [I, H, T, d], keys [I, H_kv, N, d],
    log_total [I, H, T].
    """
    images, heads, length, width = queries.shape
    grouped = queries.reshape(images, keys.shape[1], -1, width).float()
    logits = (grouped @ keys.float().transpose(-1, -2) * scale).view(images, heads, length, -1)
    return (logits - log_total[..., None]).exp().mean(1)


def real_tokens(counts: list[int], length: int, device: torch.device) -> Tensor:
    """Which of right-aligned text tokens are real: bool [I, length]."""
    number = torch.arange(length, device=device)
    return number >= length - upload(counts, device)[:, None]


def peak_scores(queries: Tensor, keys: Tensor, counts: list[int], scale: float) -> Tensor:
    """score_j = max_t max_h softmax_j(q[h, t] . k[h, j] * scale), in (0, 1].

    A token is as relevant as the head and the instruction token that look at it most: what one
    word needs is not outvoted by the others. Shapes as in `instruction_scores`; counts: real
    tokens per image, right-aligned. Returns float32 [I, N].
    """
    images, _, length, width = queries.shape
    if usable(queries):
        real = real_tokens(counts, length, queries.device)
        return _fused(queries, keys, real.float(), scale, peak=True)
    grouped = queries.reshape(images, keys.shape[1], -1, width).float()
    shares = (grouped @ keys.float().transpose(-1, -2) * scale).softmax(-1)
    best = shares.view(images, -1, length, keys.shape[2]).amax(1)
    real = real_tokens(counts, length, queries.device)
    return best.masked_fill(~real[..., None], 0.0).amax(1)


def _fused(queries: Tensor, keys: Tensor, weights: Tensor, scale: float, peak: bool) -> Tensor:
    from .kernels.attention import fused_scores

    return fused_scores(queries, keys, weights, scale, peak)
