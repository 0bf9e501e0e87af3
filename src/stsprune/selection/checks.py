"""Checks of what a caller hands to the selection functions."""

from __future__ import annotations

import math

import torch

from stsprune.errors import InvalidArgumentError, InvalidTypeError

from .plain import plain_int, plain_number

_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def check_keep(keep: object, tokens: int) -> int:
    """`keep` in 1..`tokens` as a builtin int; no upper bound as a budget is: these are tensors."""
    count = plain_int(keep)
    if count is None or not 1 <= count <= tokens:
        raise InvalidArgumentError(f"keep must be an int in 1..{tokens}, got {keep!r}")
    return count


def check_tokens(features: torch.Tensor, positions: torch.Tensor) -> None:
    """features [B, N, Dim] and positions [N, 2] or [B, N, 2] that fit."""
    for name, value in (("features", features), ("positions", positions)):
        _check_tensor(name, value)
    if features.ndim != 3 or 0 in features.shape or not features.is_floating_point():
        raise InvalidArgumentError(
            f"features must be floating point [B, N, Dim], none of them 0, got "
            f"{features.dtype} {list(features.shape)}"
        )
    batch, tokens, _ = features.shape
    if tuple(positions.shape[:-1]) not in {(tokens,), (batch, tokens)} or (
        positions.shape[-1] not in (2, 3)
    ):
        raise InvalidArgumentError(
            f"positions must be [{tokens}, 2] or [{batch}, {tokens}, 2] to fit features (or 3 "
            f"coordinates), got {list(positions.shape)}"
        )
    inside = ((positions >= 0) & (positions <= 1)).all().to(features.device)
    # One host synchronisation for both. A sum costs the least; it may itself overflow.
    fine = torch.stack((features.detach().sum(dtype=torch.float32).isfinite(), inside))
    if not bool(fine.all()):
        if not bool(fine[0]) and not bool(features.isfinite().all()):
            raise InvalidArgumentError("features must be finite, got NaN or infinity")
        if not bool(fine[1]):
            raise InvalidArgumentError("positions must lie in [0, 1], got a value outside")


def check_settings(space: float, exponent: float, eps: float, refine: int = 0) -> None:
    """The kernel's settings and the number of swaps."""
    if not 0 <= space <= 1:
        raise InvalidArgumentError(f"space must be in [0, 1], got {space!r}")
    if not (exponent > 0 and math.isfinite(exponent)):
        raise InvalidArgumentError(f"exponent must be a finite number > 0, got {exponent!r}")
    if not 1e-6 <= eps <= 1:
        raise InvalidArgumentError(f"eps must be in [1e-6, 1], got {eps!r}")
    if isinstance(refine, bool) or not isinstance(refine, int) or refine < 0:
        raise InvalidArgumentError(f"refine must be an int >= 0, got {refine!r}")


def check_potential(potential: object) -> float:
    """log mu as a builtin float: finite and > 0."""
    number = plain_number(potential)
    if number is None:
        raise InvalidTypeError(
            f"potential must be a finite number > 0, got {potential!r}, a "
            f"{type(potential).__name__}"
        )
    if not (number > 0 and math.isfinite(number)):
        raise InvalidArgumentError(
            f"potential must be a finite number > 0 (log mu; two tokens never repel each other "
            f"less), got {number!r}"
        )
    return float(number)


def first_tokens(seed: int | torch.Tensor | None, features: torch.Tensor) -> torch.Tensor | None:
    """`seed` as int64 [B] on the features' device; None stays None."""
    if seed is None:
        return None
    batch, tokens, _ = features.shape
    index = torch.as_tensor(seed)
    if index.dtype not in _INTEGERS or tuple(index.shape) not in {(), (batch,)}:
        raise InvalidArgumentError(
            f"seed must be None, an int or an integer tensor [{batch}], got {seed!r}"
        )
    _check_range("seed", index, tokens)
    return index.to(features.device, torch.int64).expand(batch).contiguous()


def check_kept(kept: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """`kept` as int64 [B, K] on the features' device."""
    _check_tensor("kept", kept)
    batch, tokens, _ = features.shape
    shape = tuple(kept.shape)
    fits = len(shape) in (1, 2) and shape[-1] > 0 and (len(shape) == 1 or shape[0] == batch)
    if kept.dtype not in _INTEGERS or not fits:
        raise InvalidArgumentError(
            f"kept must be an integer tensor [K] or [{batch}, K] with K >= 1, got "
            f"{kept.dtype} {list(shape)}"
        )
    _check_range("kept", kept, tokens)
    return kept.to(features.device, torch.int64).expand(batch, shape[-1])


def _check_tensor(name: str, value: object) -> None:
    if not isinstance(value, torch.Tensor):
        raise InvalidTypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}")


def _check_range(name: str, index: torch.Tensor, tokens: int) -> None:
    low, high = int(index.min()), int(index.max())
    if low < 0 or high >= tokens:
        wrong = low if low < 0 else high
        raise InvalidArgumentError(f"{name} must hold indices in 0..{tokens - 1}, got {wrong}")
