"""What a forward pass is to the hooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from ..stages import Reading


class Pass(Protocol):
    """One run through the decoder's layers; reads: those whose attention it wants to see."""

    reads: Sequence[int]

    def before_layer(
        self, layer: int, hidden: Tensor, kwargs: dict[str, Any]
    ) -> tuple[Tensor, dict[str, Any]]:
        """A decoder layer's hidden states [B, S, Dim] and keyword arguments."""

    def read(self, reading: Reading) -> None:
        """What the attention of a layer in `reads` was given; called between two layers."""
