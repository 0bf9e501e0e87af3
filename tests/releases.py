"""What older transformers releases cannot do themselves, pruned or not."""

from __future__ import annotations

import inspect

import pytest
import transformers
from transformers.integrations.peft import MIN_PEFT_VERSION, check_peft_version
from transformers.models.llava.modeling_llava import LlavaModel

from stsprune.engine.compat import older_than

#: Before it, generate() repeats a batch's pictures one by one for beams and samples, so that a
#: row with two pictures (or with a picture in tiles) gets the first one twice.
ENCODES_BEFORE_BEAMS = "mm_encoder_outputs" in inspect.signature(LlavaModel.forward).parameters


#: Classes that this release cannot run at all: 5.24's Llama 4 looks for an output it lost.
BROKEN = {"5.24": ("Llama4ForConditionalGeneration",)}.get(transformers.__version__[:4], ())


def need_repeated_pictures(several: bool) -> None:
    """Skip where rows of `several` pictures or tiles cannot be repeated by this release."""
    if several and not ENCODES_BEFORE_BEAMS:
        pytest.skip("this transformers repeats pictures one by one, not row by row")


def need_repeated_grids(family: str) -> None:
    """Skip families whose pictures of several rows this release's generate() mixes up."""
    if family.startswith("Qwen3.5") and transformers.__version__.startswith("5.19."):
        pytest.skip("this transformers repeats Qwen3.5's pictures in the wrong order")
    if family == "Nemotron-H Omni" and transformers.__version__.startswith("5.24."):
        pytest.skip("this transformers' unpruned beams of two pictures differ from its own forward")


def need_this_peft() -> None:
    """Skip where transformers' own adapters want a newer PEFT than the one that is here."""
    try:
        check_peft_version(min_version=MIN_PEFT_VERSION)
    except ValueError as error:
        pytest.skip(str(error))


def need_todays_beams(lean: bool) -> None:
    """Skip beams of the later families before 5.23: many mix up their pictures."""
    if lean and older_than("5.23"):
        pytest.skip("beams of the later families are proven from transformers 5.23 on")


def need_pil_idefics() -> None:
    """Skip where this release's Idefics3 processor wants torchvision, even for its Pil version."""
    try:
        transformers.Idefics3ImageProcessorPil()
    except ImportError:
        pytest.skip("this transformers builds no Idefics3 processor without torchvision")
