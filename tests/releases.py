"""What older transformers releases cannot do themselves, pruned or not."""

from __future__ import annotations

import inspect

import pytest
import transformers
from transformers.models.llava.modeling_llava import LlavaModel

#: Before it, generate() repeats a batch's pictures one by one for beams and samples, so that a
#: row with two pictures (or with a picture in tiles) gets the first one twice.
ENCODES_BEFORE_BEAMS = "mm_encoder_outputs" in inspect.signature(LlavaModel.forward).parameters


#: Kits whose pictures are several tiles, or several rows of patches.
IN_TILES = ("InternVL 3", "Qianfan-OCR", "ERNIE 4.5-VL")


def need_repeated_pictures(several: bool) -> None:
    """Skip where rows of `several` pictures or tiles cannot be repeated by this release."""
    if several and not ENCODES_BEFORE_BEAMS:
        pytest.skip("this transformers repeats pictures one by one, not row by row")


def need_repeated_grids(family: str) -> None:
    """Skip Qwen3.5 where this release's generate() mixes up pictures of several rows (5.19)."""
    if family.startswith("Qwen3.5") and transformers.__version__.startswith("5.19."):
        pytest.skip("this transformers repeats Qwen3.5's pictures in the wrong order")


def need_pil_idefics() -> None:
    """Skip where this release's Idefics3 processor wants torchvision, even for its Pil version."""
    try:
        transformers.Idefics3ImageProcessorPil()
    except ImportError:
        pytest.skip("this transformers builds no Idefics3 processor without torchvision")
