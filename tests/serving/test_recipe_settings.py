"""`STSPRUNE_RECIPE`: what a server takes of a recipe, and what it says that it cannot."""

from __future__ import annotations

import json

import pytest

from stsprune.errors import InvalidArgumentError
from stsprune.method import STS, Random
from stsprune.method.ablations import StructureOnly
from stsprune.recipes import Recipe, read_recipe
from stsprune.serving.settings import ServingSettings, left_out, read_settings

LLAVA = "LlavaForConditionalGeneration"


@pytest.fixture
def written(tmp_path):
    def write(method, positions="original"):
        path = tmp_path / "recipe.json"
        path.write_text(json.dumps(Recipe(method, LLAVA, "0", positions).document()))
        return str(path)

    return write


def test_takes_budget_repulsion_and_positions(written):
    path = written(STS(48, space=0.1, exponent=2.0), "compact")
    read = read_settings({"STSPRUNE_RECIPE": path})
    wanted = ServingSettings(48, True, space=0.1, exponent=2.0, architecture=LLAVA, recipe=path)
    assert read == wanted
    assert read.tag() != ServingSettings(48, True).tag()
    more = {"STSPRUNE_POSITIONS": "original", "STSPRUNE_RECIPE_MODEL": "any"}
    other = read_settings({"STSPRUNE_RECIPE": path} | more)
    assert (other.compact, other.architecture) == (False, None)


def test_says_what_is_left_out(written):
    said = left_out(read_recipe(written(STS(48, ratio=2.0))))
    assert "budget 48" in said
    assert "ratio 2.0" in said
    assert "cannot run" in said
    assert left_out(read_recipe(written(StructureOnly(48)))) == ""


def test_refusals(written):
    path = written(STS(48))
    with pytest.raises(InvalidArgumentError, match="STSPRUNE_BUDGET must not be set with"):
        read_settings({"STSPRUNE_RECIPE": path, "STSPRUNE_BUDGET": "4"})
    with pytest.raises(InvalidArgumentError, match=r"STSPRUNE_RECIPE: recipe .* does not exist"):
        read_settings({"STSPRUNE_RECIPE": path + "x"})
    with pytest.raises(InvalidArgumentError, match="STSPRUNE_RECIPE must be set where"):
        read_settings({"STSPRUNE_RECIPE_MODEL": "any"})
    for method in (Random(48), STS(48, structure=False)):
        with pytest.raises(InvalidArgumentError, match="must be of method sts or structure-only"):
            read_settings({"STSPRUNE_RECIPE": written(method)})
    with pytest.raises(InvalidArgumentError, match=r"must be of a fixed budget, .* potential 7.0"):
        read_settings({"STSPRUNE_RECIPE": written(STS(48, potential=7.0))})


def test_a_stage_inside_the_encoder_is_refused(written):
    path = written(STS(48, encoder=0.5))
    with pytest.raises(InvalidArgumentError, match="must be without a stage inside the encoder"):
        read_settings({"STSPRUNE_RECIPE": path})
