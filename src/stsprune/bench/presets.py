"""What is measured unless an option says otherwise."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from stsprune.errors import InvalidArgumentError


@dataclass(frozen=True)
class Preset:
    """Defaults of a run.

    minutes: see `session.Effort`; selection: (tokens, keep) at which repulsion alone is measured.
    """

    device: str
    model: str
    dtype: str
    batch: str
    rounds: int
    answers: int
    minutes: float
    selection: tuple[tuple[int, int], ...]


PRESETS = {
    # The rounds' limit leaves an H100 two of eight minutes for the model, kernels and the rest.
    "gpu": Preset(
        "cuda",
        "geometry:llava-1.5-7b",
        "bfloat16",
        "1,8",
        rounds=20,
        answers=3,
        minutes=5.5,
        selection=((576, 128), (2880, 640)),
    ),
    "cpu": Preset(
        "cpu",
        "geometry:llava-mini",
        "float32",
        "1",
        rounds=6,
        answers=2,
        minutes=20.0,
        selection=((576, 128),),
    ),
}


def pick_preset(name: str | None) -> tuple[Preset, str]:
    """The preset, by default what the machine has, and the device. Raises InvalidArgumentError."""
    found = torch.cuda.is_available()
    name = name or ("gpu" if found else "cpu")
    if name not in PRESETS:
        raise InvalidArgumentError(f"preset must be one of {', '.join(PRESETS)}, got {name!r}")
    if name == "gpu" and not found:
        raise InvalidArgumentError(
            "preset gpu needs a GPU, and torch sees none: run this on a machine with an NVIDIA or "
            "AMD GPU and torch built for it, or take --preset cpu (--model geometry:tiny is done "
            "in seconds)"
        )
    return PRESETS[name], PRESETS[name].device
