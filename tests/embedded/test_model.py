"""The model in the package: stock, small, offline; and the training's packed forward."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import LlavaForConditionalGeneration, LlavaProcessor

import stsprune
from stsprune.embedded import load
from stsprune.embedded.packing import pack
from stsprune.embedded.questions import questions
from stsprune.embedded.scenes import scene
from stsprune.embedded.train import answer_loss, main
from stsprune.errors import InvalidArgumentError, MissingWeightsError
from stsprune.evaluation import accuracy, answers, encode, load_items


@pytest.fixture(scope="module")
def embedded():
    return stsprune.load_embedded()


def test_it_is_stock_and_small(embedded):
    model, processor = embedded
    assert type(model) is LlavaForConditionalGeneration
    assert type(processor) is LlavaProcessor
    assert model.config.text_config.num_hidden_layers >= 8
    assert sum(f.stat().st_size for f in load.WEIGHTS.iterdir()) <= 16_000_000
    config = model.config.vision_config
    assert (config.image_size // config.patch_size) ** 2 >= 144


def test_the_large_one_is_stock_and_small():
    model, processor = stsprune.load_embedded("large")
    assert type(model) is LlavaForConditionalGeneration
    assert type(processor) is LlavaProcessor
    assert model.config.text_config.num_hidden_layers >= 8
    assert sum(f.stat().st_size for f in load.LARGE_WEIGHTS.iterdir()) <= 16_000_000
    assert len(processor.tokenizer) == model.config.text_config.vocab_size


def test_another_size():
    with pytest.raises(InvalidArgumentError, match="small, large, got 'huge'"):
        stsprune.load_embedded("huge")


def test_missing_weights(monkeypatch, tmp_path):
    monkeypatch.setattr(load, "WEIGHTS", tmp_path)
    with pytest.raises(MissingWeightsError, match="reinstall stsprune"):
        stsprune.load_embedded()


def test_it_answers_and_keeps_answering_when_pruned(embedded):
    """A floor well below the measured figures: notices broken weights, not noise."""
    model, processor = embedded
    items = load_items("validation", 24)
    whole = accuracy(items, answers(model, processor, items))
    pruned = accuracy(items, answers(model, processor, items, stsprune.STS(0.25)))
    assert whole["all"] > 0.75
    assert pruned["all"] > 0.65


def test_first_token_is_what_generate_says(embedded):
    model, processor = embedded
    items = load_items("validation", 2)
    inputs = encode(processor, items)
    method = stsprune.STS(16)
    with stsprune.prune(model, method):
        out = model.generate(**inputs, do_sample=False)
    first = out[:, inputs["input_ids"].shape[1]]
    words = processor.tokenizer.convert_ids_to_tokens(first.tolist())
    assert words == answers(model, processor, items, method)


def test_packed_questions_equal_prompts_of_their_own(embedded):
    model, processor = embedded
    world = scene("validation", 5)
    asked = questions(world)
    ids = [
        processor.tokenizer(f"{q.text} ASSISTANT: {q.answer}", add_special_tokens=False)[
            "input_ids"
        ]
        for q in asked
    ]
    width = max(map(len, ids))
    packed = torch.tensor([[i + [0] * (width - len(i)) for i in ids]])
    picture = processor.image_processor(Image.fromarray(world.image), return_tensors="pt")
    with torch.no_grad():
        visual = torch.stack(model.model.get_image_features(**picture).pooler_output)
        _, hits = answer_loss(model, model.model.language_model, visual, packed)
    items = [item for item in load_items("validation", 6) if item.scene.index == 5]
    assert [item.question for item in items] == asked
    given = answers(model, processor, items)
    right = [q.answer == a for q, a in zip(asked, given, strict=True)]
    assert hits.tolist() == right


def test_pack_by_hand():
    from stsprune.embedded.model import ASSISTANT_ID, EOS_ID

    asked = torch.tensor(
        [[[10, ASSISTANT_ID, 20], [11, 0, 0]], [[0, 0, 0], [12, ASSISTANT_ID, 21]]]
    )
    out = pack(asked, prefix=2)
    assert out["input_ids"].tolist() == [
        [10, ASSISTANT_ID, 20, EOS_ID, 11, EOS_ID],
        [12, ASSISTANT_ID, 21, EOS_ID, 0, 0],
    ]
    assert out["labels"][0].tolist() == [-100, 20, EOS_ID, -100, -100, -100]
    assert out["position_ids"][0].tolist() == [0, 1, 2, 3, 4, 5, 2, 3]
    assert out["allowed"][0, 0, 6].tolist() == [True, True, False, False, False, False, True, False]


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["smoke", "smoke24"])
def test_training_runs_resumes_and_exports(tmp_path, preset):
    command = [sys.executable, "-m", "stsprune.embedded.train", "--preset", preset, "--eager"]
    for steps in ("2", "3"):
        subprocess.run(
            [*command, "--work", str(tmp_path), "--llm-steps", steps],
            check=True,
            capture_output=True,
            timeout=600,
        )
    rows = [json.loads(line) for line in (tmp_path / "llm.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 3]
    assert (tmp_path / "model" / "model.safetensors").exists()
    assert not Path(tmp_path / "model.tmp").exists()
    assert callable(main)
