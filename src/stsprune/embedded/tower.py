"""Stage one of training: teach the vision tower what each patch belongs to.

Every patch that an object covers must name the object's colour, shape and character and point
to its centre, so that any one patch can stand for the whole object; the CLS token must list what
the whole picture holds, background and distractors included. The heads are thrown away later.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .glyphs import GLYPHS
from .scenes import COLOURS, SHAPES, TEXTURES

_SIZES = {"colour": len(COLOURS), "shape": len(SHAPES), "glyph": len(GLYPHS)}
_KINDS = 3  # background, object, distractor


class TowerHeads(nn.Module):
    """Linear read-outs: per patch from layer -2, per picture from the last CLS state."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.patch = nn.Linear(width, _KINDS + sum(_SIZES.values()) + 2 + 1 + len(TEXTURES))
        self.picture = nn.Linear(width, sum(_SIZES.values()) + len(TEXTURES) + 2)

    def forward(self, patches: Tensor, cls: Tensor) -> tuple[Tensor, Tensor]:
        return self.patch(self.norm(patches)), self.picture(cls)


def tower_loss(
    heads: TowerHeads, tower: Any, pixels: Tensor, batch: dict[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and held-out style accuracies.

    pixels [B, 3, S, S]; owner [B, P]; items [B, M, 3]; place [B, M, 2]; texture [B].
    """
    states = tower(pixel_values=pixels, output_hidden_states=True)
    patch, picture = heads(states.hidden_states[-2][:, 1:], states.pooler_output)
    owner, items = batch["owner"].long(), batch["items"].long()
    kinds, colour, shape, glyph, offset, centre, texture = patch.split(
        [_KINDS, *_SIZES.values(), 2, 1, len(TEXTURES)], -1
    )
    kind = torch.where(owner >= 0, 1, torch.where(owner == -2, 2, 0))
    kind = torch.where(owner == -3, -100, kind)
    loss = 0.5 * F.cross_entropy(kinds.flatten(0, 1), kind.flatten(), ignore_index=-100)

    owned = owner >= 0
    index = owner.clamp(min=0)
    looks = items.gather(1, index[..., None].expand(-1, -1, 3))[owned]
    scores: dict[str, Tensor] = {}
    for i, (name, logits) in enumerate(zip(_SIZES, (colour, shape, glyph), strict=True)):
        weight = 0.5 if name == "colour" else 1.0
        loss = loss + weight * F.cross_entropy(logits[owned], looks[:, i])
        scores[name] = (logits[owned].argmax(-1) == looks[:, i]).float().mean()

    side = int(owner.shape[1] ** 0.5)
    line = (torch.arange(side, device=owner.device) + 0.5) / side
    cells = torch.stack([line.repeat(side), line.repeat_interleave(side)], -1)  # x, y
    middle = batch["place"].float().gather(1, index[..., None].expand(-1, -1, 2))
    away = (middle - cells) * side  # in patches
    loss = loss + 0.2 * F.smooth_l1_loss(offset[owned], away[owned])
    holds = owned & (away.abs().amax(-1) <= 0.5)
    loss = loss + F.binary_cross_entropy_with_logits(centre.squeeze(-1), holds.float())
    empty = owner == -1
    grounds = batch["texture"].long()[:, None].expand_as(owner)
    loss = loss + 0.2 * F.cross_entropy(texture[empty], grounds[empty])
    scores["centre"] = ((centre.squeeze(-1) > 0) == holds)[owned].float().mean()
    scores["texture"] = (texture[empty].argmax(-1) == grounds[empty]).float().mean()

    present = torch.zeros(len(owner), sum(_SIZES.values()), device=owner.device)
    start, real = 0, (items[..., 0] >= 0).float()
    for i, size in enumerate(_SIZES.values()):
        block = present[:, start : start + size]
        block.scatter_add_(1, items[..., i].clamp(min=0), real)
        start += size
    lists, grounds, amounts = picture.split([sum(_SIZES.values()), len(TEXTURES), 2], -1)
    loss = loss + 0.5 * F.binary_cross_entropy_with_logits(lists, present.clamp(max=1))
    loss = loss + 0.1 * F.cross_entropy(grounds, batch["texture"].long())
    loud = (owner == -2).float().mean(1)
    wanted = torch.stack([real.sum(1) / 5, loud * 5], -1)
    loss = loss + 0.1 * F.smooth_l1_loss(amounts, wanted)
    return loss, scores
