"""SIEVE: tokens that the text attends to and cannot express itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from stsprune.errors import InvalidArgumentError
from stsprune.selection.attention import real_tokens
from stsprune.selection.budget import budget_tokens

from .base import InstructionAttention, Method, Plan, filter_plan, scaled_layer
from .steps import Step

SMALL = 1e-30


@dataclass(frozen=True)
class Sieve(Method):
    """SIEVE (Ou et al., 2608.10489): attention times what is left over by the text.

    Text T and image V of a layer, both minus the mean of T; b = V T' (T T' + lambda I)^-1; residual
    r = V - b T, CMR_i = |r_i| / |v_i| (equations 2 to 8), lambda the k-th eigenvalue of T T', k the
    fewest that hold `energy` of their sum (5, 6). a_i = attention that the text behind the image
    pays to i, summed over the heads that look at the image most (9, 33). Score a^2 CMR^2 (10); the
    best is kept, all others lose cos^2(r_i, r_j) of theirs, and so on (12 to 14).
    energy: published 0.75; heads: share of the heads, published 12 of 32. layer: 0-based; None =
    2 of 32, scaled to the depth.
    Differs from the paper: T and V are the layer's keys (heads side by side, after the rotary
    embedding), not its hidden states; it prunes at one layer, where the paper prunes at "a few"
    that it does not name. The eigenvalues wait once for a GPU.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"attention"})
    ranks: ClassVar[bool] = True
    search: ClassVar[tuple[Step, ...]] = (
        {"layer": (0, 1, 2)},
        {"energy": (0.5, 0.75, 0.95)},
        {"heads": (0.25, 0.375, 1.0)},
    )

    layer: int | None = None
    energy: float = 0.75
    heads: float = 0.375

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layer is not None and (isinstance(self.layer, bool) or self.layer < 0):
            raise InvalidArgumentError(f"layer must be None or an int >= 0, got {self.layer!r}")
        for name in ("energy", "heads"):
            value = getattr(self, name)
            if not 0 < value <= 1:
                raise InvalidArgumentError(f"{name} must be in (0, 1], got {value!r}")

    def plan(self, tokens: int, depth: int) -> Plan:
        """See `Method.plan`."""
        layer = scaled_layer(2, depth) if self.layer is None else self.layer
        return filter_plan(budget_tokens(self.budget, tokens), tokens, depth, layer)

    def score(self, attention: InstructionAttention) -> Tensor:
        """Minus the order in which tokens are taken."""
        residual, ratio = self._residuals(attention)
        # Logarithms: hundreds of factors below one would underflow.
        worth = 2 * (self._attention(attention) * ratio).clamp_min(SMALL).log()
        unit = F.normalize(residual, dim=-1)
        images, tokens = worth.shape
        order = worth.new_full((images, tokens), float(-tokens))
        for step in range(attention.keep):
            chosen = worth.argmax(1, keepdim=True)
            order = order.scatter(1, chosen, float(-step))
            directions = unit.gather(1, chosen[..., None].expand(-1, -1, unit.shape[2]))
            fresh = 1 - (unit @ directions.transpose(1, 2))[..., 0] ** 2
            worth = (worth + fresh.clamp_min(SMALL).log()).scatter(1, chosen, -torch.inf)
        return order

    def _attention(self, attention: InstructionAttention) -> Tensor:
        """a [I, N]."""
        assert attention.log_total is not None
        queries, keys = attention.queries, attention.keys
        images, heads, length, width = queries.shape
        grouped = queries.reshape(images, keys.shape[1], -1, width).float()
        logits = grouped @ keys.float().transpose(-1, -2) * attention.scale
        logits = logits.view(images, heads, length, -1)
        shares = (logits - attention.log_total()[..., None]).exp()
        real = real_tokens(attention.counts, length, shares.device)
        received = shares.masked_fill(~real[:, None, :, None], 0.0).sum(2)
        used = max(1, round(self.heads * heads))
        best = received.sum(-1).topk(used, dim=1).indices
        return received.gather(1, best[..., None].expand(-1, -1, received.shape[-1])).sum(1)

    def _residuals(self, attention: InstructionAttention) -> tuple[Tensor, Tensor]:
        """r [I, N, Dim] and CMR [I, N]."""
        assert attention.text_keys is not None
        visual = attention.keys.float().transpose(1, 2).flatten(2)
        text = attention.text_keys.float().transpose(1, 2).flatten(2)
        real = real_tokens(attention.counts, text.shape[1], text.device)[..., None]
        mean = text.masked_fill(~real, 0.0).sum(1, keepdim=True) / real.sum(1, keepdim=True)
        text, visual = (text - mean).masked_fill(~real, 0.0), visual - mean
        values, vectors = torch.linalg.eigh(text @ text.transpose(1, 2))  # ascending
        values = values.clamp_min(0).flip(1)
        short = values.cumsum(1) < self.energy * values.sum(1, keepdim=True)
        fewest = short.sum(1, keepdim=True).clamp_max(values.shape[1] - 1)
        limit = values.gather(1, fewest) + 1e-6 * values[:, :1] + SMALL
        # (T T' + lambda I)^-1 in the basis of its eigenvectors; padding has eigenvalue 0.
        basis = vectors.flip(2)
        weights = (visual @ text.transpose(1, 2) @ basis) / (values + limit)[:, None]
        residual = visual - weights @ (basis.transpose(1, 2) @ text)
        norm = visual.norm(dim=-1).clamp_min(SMALL)
        return residual, residual.norm(dim=-1) / norm
