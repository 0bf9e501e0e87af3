"""A budget of a request's own: `mm_processor_kwargs={"stsprune_budget": 32}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from stsprune.errors import InvalidArgumentError
from stsprune.selection.budget import check_budget
from stsprune.selection.plain import plain_number

#: Name of the request's setting, and of the entry that takes it to the model beside an image.
SETTING = ENTRY = "stsprune_budget"


def requested(kwargs: Mapping[str, Any], default: int | float) -> int | float:
    """The budget of a request. Raises InvalidArgumentError, which vLLM answers with 400."""
    value = kwargs.get(SETTING, default)
    if plain_number(value) is None:
        raise InvalidArgumentError(
            f"{SETTING} must be an int >= 1 (tokens per image) or a fraction in (0, 1], "
            f"got {value!r}"
        )
    return check_budget(value, SETTING)


def others(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What of `mm_processor_kwargs` is not ours."""
    return {name: value for name, value in kwargs.items() if name != SETTING}


def entry(budget: int | float, images: int) -> Tensor:
    """A budget as a tensor, float64 [images]: tokens, or a share with a minus."""
    return torch.full((images,), budget if isinstance(budget, int) else -budget, dtype=torch.double)


def budgets_of(told: Any, images: int, default: int | float) -> list[int | float]:
    """The inverse of `entry`, per image; `default` where nothing is told."""
    if told is None:
        return [default] * images
    values = told.flatten().tolist() if isinstance(told, Tensor) else [float(one) for one in told]
    return [int(value) if value > 0 else -value for value in values]
