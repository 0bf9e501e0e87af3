"""A small calibration of the embedded model that several tests read."""

from __future__ import annotations

import json

import pytest
from PIL import Image

import stsprune
from stsprune.calibration import read_prompts
from stsprune.evaluation import load_items


@pytest.fixture(scope="session")
def embedded():
    return stsprune.load_embedded()


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A data file of 40 SceneQA questions with labels and kinds."""
    folder = tmp_path_factory.mktemp("data")
    lines = []
    for item in load_items("validation", 6)[:40]:
        name = f"{item.scene.index}.png"
        Image.fromarray(item.scene.image).save(folder / name)
        asked = item.question
        line = {"images": [name], "question": asked.text}
        lines.append(json.dumps(line | {"answer": asked.answer, "kind": asked.family}))
    (folder / "prompts.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "prompts.jsonl"


@pytest.fixture(scope="session")
def finished(tmp_path_factory, embedded, data):
    """(folder, calibration)."""
    folder = tmp_path_factory.mktemp("calibrated") / "out"
    found = stsprune.calibrate(
        *embedded, read_prompts(data), target=0.9, batch=10, max_new_tokens=4, out=folder
    )
    return folder, found
