"""Recipes: written, read, refused for what they were not made for."""

from __future__ import annotations

import json

import pytest
import torch
from tiny_llava import make_llava

from stsprune import STS, load_recipe
from stsprune.errors import InvalidArgumentError, RecipeVersionWarning
from stsprune.recipes import FORMAT, Recipe, read_recipe, versions, weights_hash

METHOD = STS(0.25, space=0.1, withdraw=None)


def document(model, **more):
    made = Recipe(METHOD, type(model).__name__, weights_hash(model), versions=versions(), name="m")
    return made.document() | more


@pytest.fixture
def written(tmp_path, llava):
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(document(llava, target=0.98)))
    return path


def test_round_trip(written, llava, recwarn):
    assert load_recipe(written) == load_recipe(written, llava) == METHOD
    read = read_recipe(written)
    assert (read.facts, read.method_name, read.positions) == ({"target": 0.98}, "sts", "original")
    assert not recwarn


def test_a_potential_comes_back(tmp_path, llava):
    path = tmp_path / "recipe.json"
    method = STS(0.5, potential=6.4, space=0.1)
    recipe = Recipe(method, type(llava).__name__, weights_hash(llava))
    path.write_text(json.dumps(recipe.document()))
    assert load_recipe(path, llava) == method


def test_the_hash_tells_weights_apart_and_not_their_type(llava):
    same, other = make_llava(), make_llava()
    assert weights_hash(same) == weights_hash(llava)
    assert weights_hash(same.to(torch.bfloat16)) == weights_hash(llava)
    with torch.no_grad():
        for one in other.parameters():
            one.mul_(1.5)
    assert weights_hash(other) != weights_hash(llava)


def test_another_model(written, llava):
    other = make_llava()
    with torch.no_grad():
        next(other.parameters()).add_(1)
    with pytest.raises(InvalidArgumentError, match=r"recipe\.json' is for the weights of 'm'"):
        load_recipe(written, other)
    assert load_recipe(written, other, any_model=True) == METHOD
    written.write_text(written.read_text().replace(type(llava).__name__, "Qwen"))
    with pytest.raises(InvalidArgumentError, match=r"is for a Qwen, got a Llava"):
        load_recipe(written, llava)


def test_other_versions_warn(tmp_path, llava):
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(document(llava, versions=versions() | {"torch": "1.0"})))
    with pytest.warns(RecipeVersionWarning, match=r"was made with torch 1\.0 \(here 2"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be a JSON file"),
        ("[]", f"must be a file with the format '{FORMAT}'.* got None"),
        ('{"format": "other"}', "got 'other'"),
        (json.dumps({"format": FORMAT}), "must have method .* 'method' is missing"),
    ],
)
def test_broken_files(tmp_path, text, message):
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(InvalidArgumentError, match=rf"recipe '.*r\.json' .*{message}"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"name": "magic", "settings": {}}, "method must be one of"),
        ({"name": "sts", "settings": {"budget": 0}}, "budget must be"),
        ({"name": "sts", "settings": {}}, "budget"),
        (
            {"name": "grid", "settings": {"budget": 4, "ratio": 2}},
            "grid has the settings .* 'ratio'",
        ),
    ],
)
def test_broken_methods(tmp_path, llava, method, message):
    path = tmp_path / "r.json"
    path.write_text(json.dumps(document(llava, method=method)))
    with pytest.raises(InvalidArgumentError, match=rf"r\.json': .*{message}"):
        load_recipe(path)
    with pytest.raises(InvalidArgumentError, match="does not exist"):
        load_recipe(tmp_path / "none.json")
