"""How probable each token of the unpruned answer is with and without pruning."""

from __future__ import annotations

from typing import Any

from torch import Tensor

#: Candidates shown at each token, and answer tokens that are told one by one.
CANDIDATES, TOLD = 3, 16


def changes(tokens: list[int], before: Tensor, after: Tensor, tokenizer: Any) -> list[dict]:
    """One entry per token of the unpruned answer, at most `TOLD`: those that changed most.

    before, after: logits [L, vocabulary]. Entry: place, token, and candidates as {token, before,
    after} with probabilities, the answer's own first, then the likeliest others of either side.
    """
    plain, pruned = before.softmax(-1), after.softmax(-1)
    moved = (plain - pruned).abs().amax(-1)
    places = sorted(moved.topk(min(TOLD, len(tokens))).indices.tolist())
    out = []
    for place in places:
        most = plain[place].maximum(pruned[place]).topk(min(CANDIDATES + 1, plain.shape[1])).indices
        others = [token for token in most.tolist() if token != tokens[place]]
        candidates = [tokens[place], *others[:CANDIDATES]]
        shown = [
            {
                "token": word(tokenizer, token),
                "before": float(plain[place, token]),
                "after": float(pruned[place, token]),
            }
            for token in candidates
        ]
        entry = {"place": place, "moved": float(moved[place]), "candidates": shown}
        out.append(entry)
    return out


def word(tokenizer: Any, token: int) -> str:
    """A token as people read it."""
    text: str = tokenizer.decode([token])
    return text.strip() or repr(text)
