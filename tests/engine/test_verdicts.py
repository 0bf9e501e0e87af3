"""Every image-text class of transformers has a verdict, which its error says."""

from __future__ import annotations

import pytest
import torch
import transformers

from stsprune.engine.families import FAMILIES, family_of
from stsprune.engine.families.verdicts import VERDICTS, listed
from stsprune.errors import UnsupportedModelError

#: The release whose classes have all been read.
PINNED = "5.23.0"


def test_no_class_has_two_verdicts():
    assert not set(FAMILIES) & set(VERDICTS)
    names = {family.name for family in FAMILIES.values()}
    assert {verdict.nearest for verdict in VERDICTS.values()} - {""} <= names


@pytest.mark.skipif(transformers.__version__ != PINNED, reason="another release")
def test_every_class_has_a_verdict():
    """A new release cannot add a class silently."""
    found = set(listed())
    assert len(found) > 80
    assert found <= set(FAMILIES) | set(VERDICTS)
    assert set(VERDICTS) <= found
    assert set(FAMILIES) <= found


def test_the_error_says_why_and_what_is_near():
    mllama = type("MllamaForConditionalGeneration", (torch.nn.Module,), {})()
    with pytest.raises(UnsupportedModelError, match=r"cross-attention.*nearest family is Llama 4"):
        family_of(mllama)
    with pytest.raises(UnsupportedModelError, match="got Linear"):
        family_of(torch.nn.Linear(1, 1))
