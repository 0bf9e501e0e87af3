"""`stsprune ask` with the folder of another family: an answer, its cost, a picture."""

from __future__ import annotations

import json

import pytest
from PIL import Image
from processors import PROCESSORS
from zoo import shared

GRIDS = {"LLaVA-NeXT": (8, 12), "Idefics3": (6, 6), "Gemma 3": (3, 3)}


@pytest.mark.parametrize("family", GRIDS)
def test_answer_and_picture(family, call, tmp_path):
    folder, image, shown = tmp_path / "model", tmp_path / "in.png", tmp_path / "kept.png"
    shared(family).save_pretrained(folder)
    PROCESSORS[family].build().save_pretrained(folder)
    Image.new("RGB", (60, 40), "red").save(image)
    result = call(
        *("ask", image, "w5 w6", "--model", folder, "--budget", "0.4"),
        *("--show", shown, "--max-new-tokens", 3, "--json"),
    )
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert tuple(document["grid"]) == GRIDS[family]
    assert document["visual_tokens"] <= 0.4 * document["of"] + 1
    height, width = GRIDS[family]
    for stage in document["stages"]:
        assert 0 < len(stage["shown"]) <= len(stage["kept"])
        assert max(stage["shown"]) < height * width
    assert Image.open(shown).width > 100
