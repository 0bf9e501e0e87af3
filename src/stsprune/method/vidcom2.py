"""VidCom2: frames that differ from the video get more tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from stsprune.errors import InvalidArgumentError
from stsprune.selection.attention import top_indices

from .base import Method, Plan, VisualTokens, structure_plan
from .steps import Step

WIDTHS = tuple(2.0**power for power in range(-3, 2))


@dataclass(frozen=True)
class VidCom2(Method):
    """VidCom2 (Liu et al., 2505.14454): quotas by the frames' uniqueness, then unusual tokens.

    Similarity to a centre c (the mean of unit features, of the frame or of the video): s_i = sum
    over w in 1/8, 1/4, 1/2, 1, 2 of exp(- |x_i - c|^2 / 2 w). A frame's uniqueness is minus the
    mean similarity of its tokens to the video; frame t gets the share 1 + p_t - 1 / T of an equal
    one, p = softmax(uniqueness / temperature). In it the tokens stay that are least similar to
    frame and video together.
    temperature: 0.01 as released, and so are the widths w.
    Differs from the paper: all channels of the projected features count, not the half of lowest
    variance; quotas are rounded by Webster's method, so that they add up to the budget. A picture
    is a video of one frame: its most unusual tokens stay, for which the method was not made.
    """

    whole: ClassVar[bool] = True
    search: ClassVar[tuple[Step, ...]] = ({"temperature": (0.01, 0.1, 1.0)},)

    temperature: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1e-4 <= self.temperature <= 100:
            raise InvalidArgumentError(
                f"temperature must be in [1e-4, 100], got {self.temperature!r}"
            )

    def plan(self, tokens: int, depth: int) -> Plan:
        """See `Method.plan`."""
        return structure_plan(self.budget, tokens)

    def select(self, visual: VisualTokens, keep: int) -> Tensor:
        """Quotas differ from video to video; their sum does not."""
        unit = F.normalize(visual.features.float(), dim=-1)
        images, tokens, _ = unit.shape
        # Tiles of a picture are no frames.
        frames = visual.grid[0] if len(visual.grid) == 3 else 1
        frames = frames if math.prod(visual.grid) == tokens else 1
        whole = _similarity(unit, unit.mean(1, keepdim=True)).view(images, frames, -1)
        unit = unit.view(images, frames, tokens // frames, -1)
        alike = whole + _similarity(unit, unit.mean(2, keepdim=True))
        unique = (-whole.mean(-1) / self.temperature).softmax(1)
        share = 1 + unique - 1 / frames
        order = alike.sort(dim=-1, stable=True).indices
        rank = torch.arange(order.shape[-1], device=order.device).expand_as(order)
        rank = torch.zeros_like(order).scatter(2, order, rank)
        # The seat that a token would fill in Webster's method: the highest `keep` are filled.
        return top_indices((share[..., None] / (2 * rank + 1)).flatten(1), keep)


def _similarity(unit: Tensor, centre: Tensor) -> Tensor:
    """unit [..., N, Dim], centre [..., 1, Dim] -> [..., N]."""
    distance = (unit - centre).square().sum(-1)
    return torch.stack([(-distance / (2 * width)).exp() for width in WIDTHS]).sum(0)
