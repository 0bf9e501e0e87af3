"""Which rows of the encoder's output stay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from stsprune.engine.visual import Visual
from stsprune.selection.attention import peak_scores, top_indices
from stsprune.selection.budget import kept_tokens
from stsprune.selection.repulsion import EPS, EXPONENT, SPACE, repulsion

#: Tokens that structure keeps over the budget, for semantics to choose from.
RATIO = 1.75


def kept_length(visual: Visual, budget: int | float) -> int:
    """Placeholders that stay: the kept tokens, and newlines and tails, which are never pruned."""
    return visual.length - visual.tokens + kept_tokens(budget, visual.tokens)


def choose(
    features: Sequence[Tensor],
    visuals: Sequence[Visual],
    budget: int | float,
    texts: Sequence[Tensor] | None = None,
    *,
    space: float = SPACE,
    exponent: float = EXPONENT,
    eps: float = EPS,
) -> list[Tensor]:
    """The placeholders of every image that stay, ascending, int64 [K] each.

    features: per image [length, Dim], as they enter the language model; texts: per image [T, Dim],
    embeddings of the prompt's text, to choose by the question too; space, exponent, eps: see
    `stsprune.repulsion`.
    """
    how: dict[str, Any] = {"space": space, "exponent": exponent, "eps": eps}
    out: list[Tensor] = [torch.empty(0)] * len(features)
    for visual in dict.fromkeys(visuals):
        group = [i for i, other in enumerate(visuals) if other == visual]
        device = features[group[0]].device
        offsets = visual.offsets().to(device)
        keep = kept_tokens(budget, visual.tokens)
        tokens = torch.stack([features[i][offsets] for i in group]).float()
        places = visual.positions().to(device)
        if texts is None:
            chosen = repulsion(tokens, places, keep, **how)
        else:
            wide = min(visual.tokens, round(RATIO * keep))
            spread = repulsion(tokens, places, wide, **how)
            chosen = torch.cat(
                [
                    _asked(tokens[row], spread[row], texts[i].float(), keep)
                    for row, i in enumerate(group)
                ]
            )
        stays = torch.ones(len(group), visual.length, dtype=torch.bool, device=device)
        stays[:, offsets] = False
        stays.scatter_(1, offsets[chosen], True)
        for row, i in enumerate(group):
            out[i] = stays[row].nonzero()[:, 0]
    return out


def _asked(tokens: Tensor, spread: Tensor, text: Tensor, keep: int) -> Tensor:
    """Of `spread` [K1], the `keep` that the text looks at most -> [1, keep]."""
    if not len(text):
        return spread[None, :keep]
    keys = tokens[spread]
    scale = keys.shape[-1] ** -0.5
    scores = peak_scores(text[None, None], keys[None, None], [len(text)], scale)
    return spread[top_indices(scores, keep)]
