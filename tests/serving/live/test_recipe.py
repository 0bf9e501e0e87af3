"""A calibrated recipe serves: its budget and repulsion, and the log says what is left out."""

from __future__ import annotations

import json

from equality import prompt, questions
from offline import answer

import stsprune
from stsprune.recipes import Recipe, weights_hash


def test_a_recipe_serves_as_its_budget_does(embedded, tmp_path):
    model, _ = stsprune.load_embedded()
    recipe = Recipe(stsprune.STS(48), type(model).__name__, weights_hash(model))
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(recipe.document()))
    asked = [prompt(one) | {"images": [{"scene": 0}]} for one in questions(4)]
    llm = {"max_model_len": 512, "block_size": 32}
    job = {"model": str(embedded), "llm": llm, "max_tokens": 2, "prompts": asked}
    served = answer(job, STSPRUNE_RECIPE=str(path))["answers"]
    plain = answer(job, STSPRUNE_BUDGET="48")["answers"]
    assert [one["tokens"] for one in served] == [one["tokens"] for one in plain]
