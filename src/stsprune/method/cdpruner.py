"""CDPruner: a determinantal point process conditioned on the instruction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from stsprune.errors import InvalidArgumentError
from stsprune.selection.attention import real_tokens
from stsprune.selection.dpp import greedy_dpp
from stsprune.selection.maxmin import cosines

from .base import Method, Plan, VisualTokens, structure_plan
from .steps import Step


@dataclass(frozen=True)
class CDPruner(Method):
    """CDPruner (Zhang et al., 2506.10967): diverse tokens, weighted by relevance.

    L = diag(r) S diag(r) with S the cosines of the projected features and r the relevance, min-max
    scaled over the image; greedy MAP (section 3.3).
    Differs from the paper: it takes r from CLIP's text tower, which a VLM does not carry. Here r =
    - mean over text tokens of cos(f_j, t), with the VLM's own text embeddings; the sign is theirs.
    strength: L = diag(r^strength) S diag(r^strength), published 1; 0 = diversity alone.
    """

    reads_text: ClassVar[bool] = True
    search: ClassVar[tuple[Step, ...]] = ({"strength": (0.0, 0.5, 1.0)},)

    strength: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.strength <= 10:
            raise InvalidArgumentError(f"strength must be in [0, 10], got {self.strength!r}")

    def plan(self, tokens: int, depth: int) -> Plan:
        """See `Method.plan`."""
        return structure_plan(self.budget, tokens)

    def select(self, visual: VisualTokens, keep: int) -> Tensor:
        """See `selection.dpp.greedy_dpp`."""
        kernel = cosines(visual.features)
        relevance = _relevance(visual) ** self.strength
        return greedy_dpp(relevance[:, :, None] * kernel * relevance[:, None], keep)


def _relevance(visual: VisualTokens) -> Tensor:
    """r [I, N] in [0, 1]; 1 for all where there is no text."""
    features = visual.features.float()
    if visual.text is None or not min(visual.text_counts, default=0):
        return torch.ones_like(features[..., 0])
    real = real_tokens(visual.text_counts, visual.text.shape[1], features.device)
    text = F.normalize(visual.text.float(), dim=-1) * real[..., None]
    mean = text.sum(1) / real.sum(1, keepdim=True)
    raw = -(F.normalize(features, dim=-1) @ mean[..., None])[..., 0]
    low, high = raw.amin(1, keepdim=True), raw.amax(1, keepdim=True)
    return (raw - low + 1e-6) / (high - low).clamp_min(1e-6)
