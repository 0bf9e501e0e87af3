"""Host numbers on a device, without waiting for it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def upload(values: Any, device: torch.device | str) -> Tensor:
    """`torch.tensor(values, device=device)` that does not synchronise.

    The driver has its own copy of pageable memory when the call returns.
    """
    return torch.tensor(values).to(device, non_blocking=True)
