"""A prompt with a forced continuation, run token by token as a loop of one's own would."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from .compat import CACHE
from .families import Family, family_of
from .trace import Trace
from .unpruned import unpruned


@dataclass(frozen=True)
class Prompt:
    """Model inputs and what is the same in every run of them.

    mask: [B, T + steps]; positions: [..., B, T + steps] where the caller or a model with positions
    on several axes gives them (transformers gets those wrong from a mask); family: the adapter.
    """

    model: Any
    inputs: Mapping[str, Any]
    steps: int
    mask: Tensor
    positions: Tensor | None
    family: Family

    @classmethod
    def of(
        cls, model: Any, inputs: Mapping[str, Any], steps: int, family: str | Family | None = None
    ) -> Prompt:
        """Nothing is run; family: see `family_of`."""
        family = family_of(model, family)
        ids = inputs["input_ids"]
        zeros = ids.new_zeros(len(ids), steps)
        given = unpruned(model, inputs, Trace(), zeros, family=family).given
        mask, positions = given["attention_mask"], given.get("position_ids")
        return cls(model, inputs, steps, mask, positions, family)

    @property
    def length(self) -> int:
        """T."""
        return int(self.inputs["input_ids"].shape[1])

    def prefill(self) -> tuple[Tensor, Any]:
        """Logits [B, V] behind the prompt, and the KV cache."""
        # As generate() does: Granite 4 Vision makes none of its own.
        cache = DynamicCache(config=self.family.decoder(self.model).config)
        given = {CACHE: cache, "use_cache": True, "logits_to_keep": 1}
        out = self.model(**self.inputs, **given)
        return out.logits[:, -1], getattr(out, CACHE)

    def step(self, number: int, token: Tensor, cache: Any) -> Tensor:
        """Logits [B, V] behind the forced token [B, 1]; number: from 0."""
        end = self.length + number + 1
        given = {"input_ids": token, "attention_mask": self.mask[:, :end], CACHE: cache}
        if self.positions is not None:
            given["position_ids"] = self.positions[..., end - 1 : end]
        logits: Tensor = self.model(**given, use_cache=True).logits[:, -1]
        return logits

    def decode(self, tokens: Tensor, cache: Any) -> list[Tensor]:
        """Every step over forced tokens [B, steps]."""
        return [self.step(at, tokens[:, at : at + 1], cache) for at in range(self.steps)]

    def answer(self, logits: Tensor, cache: Any) -> tuple[Tensor, list[Tensor]]:
        """The model's own greedy tokens [B, steps], past any end, and the logits behind each.

        Placeholders of images are never chosen: nobody could tell them from the prompt's.
        """
        marks = list(self.family.token_ids(self.model).values())
        chosen, seen = [], []
        for at in range(self.steps):
            allowed = logits.clone()
            allowed[:, marks] = -torch.inf
            chosen.append(allowed.argmax(-1, keepdim=True))
            logits = self.step(at, chosen[-1], cache)
            seen.append(logits)
        return torch.cat(chosen, 1), seen


@contextmanager
def untouched(model: Any, family: Family) -> Iterator[None]:
    """What a run leaves behind on the model (mRoPE's offset) is put back."""
    inner = family.inner(model)
    kept = {name: getattr(inner, name) for name in ("rope_deltas",) if hasattr(inner, name)}
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(inner, name, value)
