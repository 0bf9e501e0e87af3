"""Fused Triton kernels. Importing this package imports no Triton."""

from __future__ import annotations

import functools
import importlib.util
import os

from torch import Tensor


@functools.cache
def has_triton() -> bool:
    """Whether Triton is installed; it never is a requirement."""
    return importlib.util.find_spec("triton") is not None


def interpreted() -> bool:
    """Whether Triton's interpreter runs the kernels, on the CPU and slowly."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def usable(tensor: Tensor) -> bool:
    """Whether a kernel can take this tensor: on an NVIDIA or AMD GPU, with Triton."""
    return tensor.device.type == "cuda" and has_triton()


def describe() -> str:
    """One line about the kernels for people: used, or why not."""
    if not has_triton():
        return "Triton is not installed: selection and scores run in plain torch"
    import torch

    if not torch.cuda.is_available():
        return "no GPU: selection and scores run in plain torch"
    return "selection and scores run in fused Triton kernels"
