"""Many questions behind one image prefix: one sequence, block mask, positions that restart.

A question sees `<s> USER: <image>...` and itself, exactly as in a prompt of its own, so one
forward pass trains them all. Equality with separate prompts is tested.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .model import ASSISTANT_ID, EOS_ID


def pack(questions: Tensor, prefix: int, length: int | None = None) -> dict[str, Tensor]:
    """Lay questions [B, Q, T] (ids of question, ASSISTANT:, answer; 0 = padding) end to end.

    prefix: tokens before the questions; length: L, tokens kept for the questions (default: all
    that the longest row needs; what does not fit is left out). Returns input_ids [B, L],
    position_ids [B, prefix + L], allowed [B, 1, prefix + L, prefix + L] (True = may attend) and
    labels [B, L], -100 where nothing is learnt: only the answer and the `</s>` behind it are.
    """
    batch, count, _ = questions.shape
    blank = questions.new_zeros(batch, count, 1, dtype=torch.long)
    ids = torch.cat([questions.long(), blank], -1)
    size = (ids != 0).sum(-1, keepdim=True)
    ids.scatter_(2, size, torch.where(size > 0, EOS_ID, 0))
    following = torch.cat([ids[..., 1:], blank], -1)
    asked = (ids == ASSISTANT_ID).cumsum(-1) > 0
    labels = torch.where(asked & (following != 0), following, -100)
    step = torch.arange(ids.shape[2], device=ids.device).expand_as(ids)
    number = torch.arange(1, count + 1, device=ids.device)[:, None].expand_as(ids)

    used = (ids != 0).flatten(1)
    slot = used.cumsum(1) - 1
    length = length or int(used.sum(1).max())
    row, source = torch.nonzero(used & (slot < length), as_tuple=True)
    target = slot[row, source]

    def lay(values: Tensor, blank: int) -> Tensor:
        out = values.new_full((batch, length), blank)
        out[row, target] = values.flatten(1)[row, source]
        return out

    front = torch.arange(prefix, device=ids.device).expand(batch, -1)
    segment = torch.cat([torch.zeros_like(front), lay(number, count + 1)], 1)
    width = prefix + length
    causal = torch.ones(width, width, dtype=torch.bool, device=ids.device).tril()
    same = (segment[:, None] == segment[:, :, None]) | (segment[:, None] == 0)
    return {
        "input_ids": lay(ids, 0),
        "position_ids": torch.cat([front, prefix + lay(step, 0)], 1),
        "allowed": (causal & same)[:, None],
        "labels": lay(labels, -100),
    }
