"""What the larger tower learns first: each patch names the object or sign that it belongs to.

As in `embedded.tower`; beside looks and centre also the size, the place in the picture and, on a
sign, the whole text, so that any one patch can stand for all of it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..glyphs import GLYPHS
from ..scenes import COLOURS, SHAPES
from .atlas import CHARACTERS
from .grounds import GROUNDS
from .scenes import MAX_OBJECTS
from .words import LONGEST

_SIZES = {"colour": len(COLOURS), "shape": len(SHAPES), "glyph": len(GLYPHS) + 1}  # 0 = none
_KINDS = 4  # background, object, distractor, sign
_LETTERS = len(CHARACTERS) + 1
_PATCH = (_KINDS, *_SIZES.values(), LONGEST * _LETTERS, 3, 2, 1, len(GROUNDS))
_WEIGHTS = {"colour": 0.5, "shape": 1.0, "glyph": 1.0}


class TowerHeads(nn.Module):
    """Linear read-outs: per patch from layer -2, per picture from the last CLS state."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.patch = nn.Linear(width, sum(_PATCH))
        self.picture = nn.Linear(width, sum(_SIZES.values()) + len(GROUNDS) + 2)

    def forward(self, patches: Tensor, cls: Tensor) -> tuple[Tensor, Tensor]:
        return self.patch(self.norm(patches)), self.picture(cls)


def tower_loss(
    heads: TowerHeads, tower: Any, pixels: Tensor, batch: dict[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and held-out style accuracies; batch: the arrays of data.py.

    Masks multiply instead of choosing rows, so that no step waits for the device.
    """
    states = tower(pixel_values=pixels, output_hidden_states=True)
    patch, picture = heads(states.hidden_states[-2][:, 1:], states.pooler_output)
    owner, items = batch["owner"].long(), batch["items"].long()
    kinds, colour, shape, glyph, text, where, cell, centre, ground = patch.float().split(_PATCH, -1)

    kind = torch.where(owner >= MAX_OBJECTS, 3, torch.where(owner >= 0, 1, 0))
    kind = torch.where(owner == -2, 2, kind)
    kind = torch.where(owner == -3, -100, kind)
    loss = 0.5 * F.cross_entropy(kinds.flatten(0, 1), kind.flatten(), ignore_index=-100)

    owned = owner >= 0
    signs = owner >= MAX_OBJECTS
    index = owner.clamp(min=0)
    looks = items.gather(1, index[..., None].expand(-1, -1, 3))
    looks[..., 2] += 1
    scores: dict[str, Tensor] = {}
    for i, (name, logits) in enumerate(zip(_SIZES, (colour, shape, glyph), strict=True)):
        rows = owned if name == "colour" else owned & ~signs
        value, scores[name] = _named(logits, looks[..., i], rows)
        loss = loss + _WEIGHTS[name] * value
    number = (owner - MAX_OBJECTS).clamp(min=0)
    spelt = batch["text"].long().gather(1, number[..., None].expand(-1, -1, LONGEST))
    value, _ = _named(text.unflatten(-1, (LONGEST, _LETTERS)), spelt, signs[..., None])
    loss = loss + 1.5 * value
    read = (text.unflatten(-1, (LONGEST, _LETTERS)).argmax(-1) == spelt).all(-1)
    scores["text"] = _mean(read.float(), signs)

    side = int(owner.shape[1] ** 0.5)
    line = (torch.arange(side, device=owner.device) + 0.5) / side
    cells = torch.stack([line.repeat(side), line.repeat_interleave(side)], -1)  # x, y
    place = batch["place"].float().gather(1, index[..., None].expand(-1, -1, 3))
    away = (place[..., :2] - cells) * side  # in patches
    wanted = torch.cat([away, place[..., 2:] * side], -1)
    loss = loss + 0.2 * _mean(F.smooth_l1_loss(where, wanted, reduction="none").mean(-1), owned)
    loss = loss + 0.5 * F.smooth_l1_loss(cell, (cells * 4).expand_as(cell))
    holds = owned & (away.abs().amax(-1) <= 0.5)
    loss = loss + F.binary_cross_entropy_with_logits(centre.squeeze(-1), holds.float())
    grounds = batch["texture"].long()[:, None].expand_as(owner)
    value, scores["texture"] = _named(ground, grounds, owner == -1)
    loss = loss + 0.2 * value
    scores["centre"] = _mean(((centre.squeeze(-1) > 0) == holds).float(), owned)

    objects = items[:, :MAX_OBJECTS]
    real = (objects[..., 0] >= 0).float()
    present = torch.zeros(len(owner), sum(_SIZES.values()), device=owner.device)
    start = 0
    for i, size in enumerate(_SIZES.values()):
        values = (objects[..., i] + (i == 2)).clamp(min=0)
        present[:, start : start + size].scatter_add_(1, values, real)
        start += size
    lists, seen, amounts = picture.float().split([sum(_SIZES.values()), len(GROUNDS), 2], -1)
    loss = loss + 0.5 * F.binary_cross_entropy_with_logits(lists, present.clamp(max=1))
    loss = loss + 0.1 * F.cross_entropy(seen, batch["texture"].long())
    held = torch.stack([real.sum(1) / 8, (owner == -2).float().mean(1) * 5], -1)
    return loss + 0.1 * F.smooth_l1_loss(amounts, held), scores


def _mean(values: Tensor, rows: Tensor) -> Tensor:
    """Mean of the values where `rows` holds."""
    return (values * rows).sum() / rows.expand_as(values).sum().clamp(min=1)


def _named(logits: Tensor, names: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Cross entropy and accuracy over the places where `rows` holds."""
    flat = logits.flatten(0, -2)
    entropy = F.cross_entropy(flat, names.clamp(min=0).flatten(), reduction="none")
    right = (logits.argmax(-1) == names).float()
    return _mean(entropy.view_as(names), rows), _mean(right, rows)
