"""DIVE: what the kept tokens explain no longer counts, in the picture or in the prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from stsprune.errors import InvalidArgumentError
from stsprune.selection.attention import real_tokens

from .base import Method, Plan, VisualTokens, structure_plan
from .steps import Step


@dataclass(frozen=True)
class Dive(Method):
    """After DIVE (Zhong et al., 2608.04496): select, discount what is explained, score again.

    Of the paper only the abstract and digests could be read: one loop of selecting the token of the
    highest "residual-conditioned score", "coupled one-sided updates" of the visual and the prompt
    residuals, and scoring again. The equations are this project's own:

        R_i = f_i / |f_i| - their mean      P_t = e_t / |e_t| of the text's embeddings
        score_i = |R_i|^2 (1 + relevance * max_t max(0, P_t . R_i / |R_i|))
        i* = the highest score; u = R_i* / |R_i*|
        R_j <- R_j - max(0, u . R_j) u      P_t <- P_t - max(0, u . P_t) u

    One-sided: a token that points away from what was kept is not explained by it.
    relevance: weight of the prompt; 0 = the picture alone.
    """

    reads_text: ClassVar[bool] = True
    search: ClassVar[tuple[Step, ...]] = ({"relevance": (0.0, 1.0, 4.0)},)

    relevance: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.relevance <= 100:
            raise InvalidArgumentError(f"relevance must be in [0, 100], got {self.relevance!r}")

    def plan(self, tokens: int, depth: int) -> Plan:
        """See `Method.plan`."""
        return structure_plan(self.budget, tokens)

    @torch.no_grad()
    def select(self, visual: VisualTokens, keep: int) -> Tensor:
        """On the residuals' inner products: O(N (N + T)) per token, whatever their width."""
        unit = F.normalize(visual.features.float(), dim=-1)
        unit = unit - unit.mean(1, keepdim=True)
        tokens = unit.shape[1]
        products = unit @ torch.cat((unit, _prompt(visual, unit)), 1).transpose(1, 2)
        taken = torch.zeros_like(products[..., 0])  # -inf once taken
        kept = []
        for _ in range(keep):
            squares = products.diagonal(dim1=1, dim2=2).clamp_min(0)
            norms = squares.sqrt()
            score = squares
            if products.shape[2] > tokens:
                towards = products[..., tokens:].amax(-1).clamp_min(0)
                score = squares + self.relevance * norms * towards
            chosen = (score + taken).argmax(1, keepdim=True)
            kept.append(chosen)
            taken = taken.scatter(1, chosen, -torch.inf)
            # Along u: what every residual has of it, and what it loses.
            row = products.gather(1, chosen[..., None].expand(-1, -1, products.shape[2]))
            along = row / norms.gather(1, chosen)[..., None].clamp_min(1e-6)
            loss = along.clamp_min(0)
            mine, lost = along[..., :tokens].transpose(1, 2), loss[..., :tokens].transpose(1, 2)
            products.addcmul_(lost, along, value=-1).addcmul_(mine - lost, loss, value=-1)
        return torch.cat(kept, 1)


def _prompt(visual: VisualTokens, like: Tensor) -> Tensor:
    """P [I, T, Dim]; T is 0 where an image has no text."""
    if visual.text is None or not min(visual.text_counts, default=0):
        return like[:, :0]
    real = real_tokens(visual.text_counts, visual.text.shape[1], like.device)
    return F.normalize(visual.text.float(), dim=-1).masked_fill(~real[..., None], 0.0)
