"""The stage before the first: which patches stay in the vision tower, from a layer of it on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from stsprune.errors import InvalidArgumentError, InvalidTypeError
from stsprune.selection.checks import check_settings
from stsprune.selection.plain import plain_int, plain_number
from stsprune.selection.repulsion import EPS, EXPONENT, SPACE, sample
from stsprune.selection.upload import upload

CHOICES = ("repulsion", "random", "grid")
#: Of a picture's tokens stay, or what the next stage keeps where that is more, without a share.
SHARE = 2 / 3


@dataclass(frozen=True)
class EncoderStage:
    """Keep a share of every picture's patches from a layer of the vision tower on.

    The others leave the tower there: later layers, projector and decoder never see them, and the
    structure stage chooses among the rest. Patches that the model merges into one visual token
    stay or leave together; class and register tokens stay.

    A picture of which the method drops nothing loses nothing here either. The defaults cost at most
    half a point on the embedded model's validation questions (benchmarks/encoder_stage.py).

    Args:
        layer: The first tower layer without them, 0-based; a float in [0, 1) is a part of the
            layers that count (LLaVA takes features before the last one).
        share: Of the picture's tokens, in (0, 1]; None = two thirds, or what the structure stage
            keeps where that is more.
        choice: "repulsion" over the layer's input and the places; "random" and "grid" to compare
            with.
        space: Weight of place against feature distance, in [0, 1]; see `stsprune.repulsion`.
        exponent: Of the repulsion, > 0.
        eps: Softening of the repulsion, > 0.
        seed: Of the random choice.

    Raises:
        InvalidArgumentError: A setting out of what is allowed.
        InvalidTypeError: A setting of another type.
    """

    layer: int | float = 0.4
    share: float | None = None
    choice: str = "repulsion"
    space: float = SPACE
    exponent: float = EXPONENT
    eps: float = EPS
    seed: int = 0

    def __post_init__(self) -> None:
        whole, number = plain_int(self.layer), plain_number(self.layer)
        if number is None:
            raise InvalidTypeError(
                "encoder layer must be an int >= 0 or a float in [0, 1), got "
                f"{self.layer!r}, a {type(self.layer).__name__}"
            )
        if number < 0 or (whole is None and not number < 1):
            raise InvalidArgumentError(
                f"encoder layer must be an int >= 0 or a float in [0, 1), got {self.layer!r}"
            )
        if self.share is not None:
            share = plain_number(self.share)
            if share is None:
                raise InvalidTypeError(
                    f"encoder share must be None or a number in (0, 1], got {self.share!r}"
                )
            if not 0 < share <= 1:
                raise InvalidArgumentError(
                    f"encoder share must be None or in (0, 1], got {self.share!r}"
                )
        if self.choice not in CHOICES:
            raise InvalidArgumentError(
                f"encoder choice must be one of {', '.join(CHOICES)}, got {self.choice!r}"
            )
        if plain_int(self.seed) is None:
            raise InvalidTypeError(f"encoder seed must be an int, got {self.seed!r}")
        check_settings(self.space, self.exponent, self.eps)

    def layer_of(self, layers: int) -> int:
        """The layer, of a tower of which `layers` count. Raises InvalidArgumentError."""
        whole = plain_int(self.layer)
        layer = min(round(self.layer * layers), layers - 1) if whole is None else whole
        if layer >= layers:
            raise InvalidArgumentError(
                f"encoder layer must be in 0..{layers - 1} for a vision tower of which {layers} "
                f"layers count, got {layer}"
            )
        return layer

    def keep(self, tokens: int, needed: int) -> int:
        """Tokens that stay of a picture's `tokens`, of which the next stage keeps `needed`.

        Raises InvalidArgumentError where it leaves fewer.
        """
        if self.share is None:
            return max(needed, math.ceil(SHARE * tokens))
        kept = max(1, math.ceil(self.share * tokens))
        self.check(kept, tokens, needed)
        return kept

    def check(self, kept: int, tokens: int, needed: int) -> None:
        """Raises InvalidArgumentError where `kept` of `tokens` are fewer than `needed`."""
        if kept < needed:
            raise InvalidArgumentError(
                f"encoder share must leave at least the {needed} of an image's {tokens} visual "
                f"tokens that the next stage keeps, {self.share} leaves {kept}"
            )

    def choose(
        self, features: Tensor, positions: Tensor, keep: int, images: tuple[int, ...]
    ) -> Tensor:
        """int64 [I, keep] ascending, of features [I, N, Dim] at positions [N, 2 or 3].

        images: the pictures' numbers, for the random choice.
        """
        count, device = features.shape[1], features.device
        if self.choice == "grid":
            cells = [(2 * i + 1) * count // (2 * keep) for i in range(keep)]
            return upload(cells, device).expand(len(images), -1)
        if self.choice == "random":
            orders = [
                torch.randperm(count, generator=torch.Generator().manual_seed(self.seed + 7919 * i))
                for i in images
            ]
            kept = torch.stack(orders)[:, :keep].to(device, non_blocking=True)
        else:
            kept = sample(features, positions, keep, self.space, self.exponent, self.eps)
        return kept.sort(-1).values


def encoder_stage(value: Any) -> EncoderStage | None:
    """What `encoder=` takes: a stage, its settings by name (as in a file), a share, or None.

    Raises InvalidTypeError or InvalidArgumentError.
    """
    if value is None or isinstance(value, EncoderStage):
        return value
    if isinstance(value, Mapping):
        known = [setting.name for setting in fields(EncoderStage)]
        unknown = [name for name in value if name not in known]
        if unknown:
            raise InvalidArgumentError(
                f"encoder has the settings {', '.join(known)}, got {unknown[0]!r}"
            )
        return EncoderStage(**value)
    if plain_number(value) is not None:
        return EncoderStage(share=value)
    raise InvalidTypeError(
        "encoder must be None, an EncoderStage, its settings by name or a share in (0, 1], got "
        f"{value!r}, a {type(value).__name__}"
    )
