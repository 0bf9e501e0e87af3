"""SparseVLM: text tokens that see the picture rate its tokens; what goes is partly recycled."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from stsprune.errors import InvalidArgumentError
from stsprune.selection.attention import attention_shares, real_tokens, top_indices
from stsprune.selection.budget import budget_tokens
from stsprune.selection.density import density_peaks
from stsprune.selection.merging import group_means

from .base import (
    InstructionAttention,
    Method,
    Plan,
    VisualTokens,
    scaled_layer,
    too_small,
)
from .steps import Step

LAYERS = (2, 6, 15)  # of 32
#: Published counts of 576 tokens behind those layers, by their average.
COUNTS = {192: (300, 200, 110), 128: (303, 110, 36), 64: (66, 30, 17)}
RECYCLED = 0.3


@dataclass(frozen=True)
class SparseVLM(Method):
    """SparseVLM (Zhang et al., 2410.04417): attention of the text tokens that see the picture.

    Raters: text tokens t whose mean over v of softmax_t(V T^T) exceeds the mean of all (section
    3.2); score_j = attention averaged over heads and raters; layers 2, 6, 15 of 32, scaled to the
    depth. The best 30 % of the deleted tokens are merged into clusters (density peaks), 1 + a tenth
    of them (section 3.4).
    Differs from the paper: counts per layer are the published ones, scaled to the budget, not found
    from the attention's rank; clusters count within the budget, a quarter of it at most, and take
    their centre's place.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"attention", "embeddings"})
    merges: ClassVar[bool] = True
    search: ClassVar[tuple[Step, ...]] = ({"recycle": (True, False)},)

    recycle: bool = True

    def plan(self, tokens: int, depth: int) -> Plan:
        """See `Method.plan`."""
        budget = budget_tokens(self.budget, tokens)
        return Plan() if budget >= tokens else Plan(None, _counts(budget, tokens, depth))

    def score(self, attention: InstructionAttention) -> Tensor:
        """Rated attention; centres of clusters rank last among what is kept."""
        rated = _rated(attention)
        best, centres, _ = self._parts(rated, attention)
        order = rated.scatter(1, centres, 2.0)  # an attention share is at most 1
        return order.scatter(1, best, 3.0)

    def merge(
        self, states: Tensor, chosen: Tensor, stage: VisualTokens | InstructionAttention
    ) -> Tensor:
        """Centres become the mean of their cluster."""
        assert isinstance(stage, InstructionAttention)
        kept = states.gather(1, chosen[..., None].expand(-1, -1, states.shape[2]))
        _, centres, group = self._parts(_rated(stage), stage)
        count = centres.shape[1]
        if not count:
            return kept
        means = group_means(states, group.to(states.device), count)
        place = torch.searchsorted(chosen, centres.to(chosen.device))
        return kept.float().scatter(1, place[..., None].expand_as(means), means)

    def _parts(
        self, rated: Tensor, attention: InstructionAttention
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(kept as they are, centres of clusters, cluster of every token or their number)."""
        tokens = rated.shape[1]
        recycled = int(RECYCLED * (tokens - attention.keep)) if self.recycle else 0
        clusters = min(recycled // 10 + 1, attention.keep // 4, recycled)
        best = top_indices(rated, attention.keep - clusters)
        group = torch.full_like(rated, clusters, dtype=torch.long)
        if not clusters:
            return best, best[:, :0], group
        pool = top_indices(rated.scatter(1, best, -1.0), recycled + clusters)
        assert attention.features is not None
        width = attention.features.shape[-1]
        points = attention.features.gather(1, pool[..., None].expand(-1, -1, width))
        peaks, member = density_peaks(points, clusters)
        return best, pool.gather(1, peaks), group.scatter(1, pool, member)


def _rated(attention: InstructionAttention) -> Tensor:
    """Attention that the raters pay to each token, mean over heads and raters: [I, N]."""
    assert attention.log_total is not None
    assert attention.features is not None
    assert attention.text is not None
    shares = attention_shares(
        attention.queries, attention.keys, attention.scale, attention.log_total()
    )
    real = real_tokens(attention.counts, attention.text.shape[1], shares.device)
    match = attention.features.float() @ attention.text.float().transpose(1, 2)  # [I, N, T]
    seen = match.masked_fill(~real[:, None], -torch.inf).softmax(-1).mean(1)
    mean = seen.sum(1, keepdim=True) / real.sum(1, keepdim=True)
    raters = (seen >= mean) & real
    weights = raters / raters.sum(1, keepdim=True).clamp_min(1)
    return (weights[:, None].float() @ shares.nan_to_num())[:, 0]


@lru_cache(maxsize=256)
def _counts(budget: float, tokens: int, depth: int) -> tuple[tuple[int, int], ...]:
    if depth <= len(LAYERS) + 1:
        raise InvalidArgumentError(
            f"SparseVLM needs more than {len(LAYERS) + 1} decoder layers, got {depth}"
        )
    layers: list[int] = []
    for number, layer in enumerate(LAYERS):
        latest = depth - 1 - len(LAYERS) + number
        layers.append(min(max(scaled_layer(layer, depth), number), latest))
    for i in range(1, len(layers)):
        layers[i] = max(layers[i], layers[i - 1] + 1)
    lengths = [b - a for a, b in zip(layers, [*layers[1:], depth - 1], strict=True)]
    before, total = layers[0] + 1, budget * depth
    if tokens * before + sum(lengths) > total:
        least = (tokens * before + sum(lengths)) / depth
        raise too_small(budget, least, tokens, layers[0])
    published = min(COUNTS, key=lambda mean: abs(mean / 576 - budget / tokens))
    shares = [count / 576 for count in COUNTS[published]]

    def counts(factor: float) -> list[int]:
        return [min(tokens, max(1, int(factor * share * tokens))) for share in shares]

    def spent(factor: float) -> int:
        return tokens * before + sum(n * d for n, d in zip(counts(factor), lengths, strict=True))

    low, high = 0.0, 1 / shares[-1]
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if spent(middle) <= total else (low, middle)
    return tuple(zip(layers, counts(low), strict=True))
