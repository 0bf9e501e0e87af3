"""`--model_args recipe=...`."""

from __future__ import annotations

import json

import pytest

from stsprune.errors import InvalidArgumentError
from stsprune.lmms.arguments import read_arguments
from stsprune.lmms.loading import load
from stsprune.method import STS
from stsprune.recipes import Recipe


def test_recipe(tmp_path):
    path = tmp_path / "recipe.json"
    made = Recipe(STS(16, space=0.1), "LlavaForConditionalGeneration", "0", "compact")
    path.write_text(json.dumps(made.document()))
    given = {"pretrained": "embedded", "recipe": str(path)}
    read = read_arguments(given)
    assert (read.method, read.positions) == (made.method, "compact")
    assert read_arguments(given | {"positions": "original"}).positions == "original"
    for beside in ({"method": "sts"}, {"budget": 4}, {"ratio": 2}):
        with pytest.raises(InvalidArgumentError, match="must not be given with recipe"):
            read_arguments(given | beside)
    with pytest.raises(InvalidArgumentError, match="any_model must not be given without recipe"):
        read_arguments({"pretrained": "embedded", "budget": 4, "any_model": True})
    with pytest.raises(InvalidArgumentError, match="is for the weights of"):
        load(read)
    assert load(read_arguments(given | {"any_model": True}))[2] == made.method
