"""Positions of an image's visual tokens."""

from __future__ import annotations

import torch


def cell_centres(height: int, width: int, device: torch.device | str | None = None) -> torch.Tensor:
    """Cell centres (x, y) of a row-major grid -> float32 [height * width, 2] in (0, 1)."""
    y = (torch.arange(height, device=device, dtype=torch.float32) + 0.5) / height
    x = (torch.arange(width, device=device, dtype=torch.float32) + 0.5) / width
    return torch.stack((x.repeat(height), y.repeat_interleave(width)), dim=-1)
