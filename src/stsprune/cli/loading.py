"""Reading `--dtype`, `--device`, `--attention` and `--layers`, before a model is loaded."""

from __future__ import annotations

from stsprune.errors import InvalidArgumentError

DTYPES = ("float32", "bfloat16", "float16")
ATTENTIONS = ("sdpa", "eager", "flash_attention_2", "flash_attention_3")


def check_dtype(name: str | None) -> None:
    """None = as stored. Raises InvalidArgumentError."""
    if name is not None and name not in DTYPES:
        raise InvalidArgumentError(f"dtype must be one of {', '.join(DTYPES)}, got {name!r}")


def check_attention(name: str | None) -> None:
    """None = transformers' choice. Raises InvalidArgumentError."""
    if name is not None and name not in ATTENTIONS:
        allowed = ", ".join(ATTENTIONS)
        raise InvalidArgumentError(f"attention must be one of {allowed}, got {name!r}")


def check_device(name: str | None) -> None:
    """A device that is there; None = the GPU if there is one. Raises InvalidArgumentError."""
    import torch

    if name is None:
        return
    try:
        torch.empty(1, device=name).cpu()
    except (RuntimeError, AssertionError, ImportError, NotImplementedError):
        there = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
        raise InvalidArgumentError(
            f"device must be one that this machine has ({', '.join(there)}), got {name!r}"
        ) from None
