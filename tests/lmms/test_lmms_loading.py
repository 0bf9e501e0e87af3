"""What is decided before the weights are read, for fixed grids and for any resolution."""

from __future__ import annotations

import pytest
import transformers
from PIL import Image
from processors import PROCESSORS
from zoo import shared

from stsprune.engine import prune
from stsprune.errors import InvalidArgumentError, UnsupportedModelError
from stsprune.lmms.answering import answer_batch, tokens_seen
from stsprune.lmms.arguments import read_arguments
from stsprune.lmms.loading import load


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """family -> folder of a tiny model with its real processor."""
    home = tmp_path_factory.mktemp("models")
    for family in ("LLaVA-NeXT", "Gemma 3", "Idefics3"):
        shared(family).save_pretrained(home / family)
        PROCESSORS[family].build().save_pretrained(home / family)
    return home


@pytest.fixture
def no_weights(monkeypatch):
    """Reading weights is a failure."""

    def fail(*_, **__):
        raise AssertionError("weights were read")

    monkeypatch.setattr("stsprune.lmms.loading.load_checkpoint", fail)


def opened(**arguments):
    return load(read_arguments({"device": "cpu"} | arguments))


def ask(size, words="w5 w6"):
    content = [{"type": "image", "url": Image.new("RGB", size, "red")}]
    return [{"role": "user", "content": [*content, {"type": "text", "text": words}]}]


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"budget": 0}, InvalidArgumentError, "budget must be an int >= 1"),
        ({"budget": 10, "method": "fastv", "layer": 7}, InvalidArgumentError, r"layer .*0\.\.6"),
        ({"budget": 10, "method": "fastv"}, InvalidArgumentError, "budget must be at least"),
        ({"budget": 10, "max_pixels": 99}, InvalidArgumentError, "max_pixels must not be given"),
        ({"budget": 10, "pretrained": "/no/such"}, InvalidArgumentError, "does not exist"),
    ],
)
@pytest.mark.usefixtures("no_weights")
def test_embedded_is_decided_from_its_config(arguments, kind, message):
    with pytest.raises(kind, match=message):
        opened(**({"pretrained": "embedded"} | arguments))


@pytest.mark.parametrize(
    ("family", "arguments", "kind", "message"),
    [
        ("Gemma 3", {"budget": 2, "method": "fastv"}, InvalidArgumentError, "budget must be at"),
        ("LLaVA-NeXT", {"budget": 20, "method": "fastv"}, InvalidArgumentError, "max_pixels"),
        ("LLaVA-NeXT", {"budget": 20, "max_pixels": 99}, InvalidArgumentError, "must not be given"),
    ],
)
@pytest.mark.usefixtures("no_weights")
def test_folder_is_decided_from_its_config(folders, family, arguments, kind, message):
    with pytest.raises(kind, match=message):
        opened(pretrained=folders / family, **arguments)


@pytest.mark.usefixtures("no_weights")
def test_unknown_family(tmp_path):
    transformers.Blip2Config().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").touch()
    PROCESSORS["LLaVA-NeXT"].build().save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match="got Blip2"):
        opened(pretrained=tmp_path, budget=5)


def test_no_chat_template(folders, tmp_path):
    shared("LLaVA-NeXT").save_pretrained(tmp_path)
    processor = PROCESSORS["LLaVA-NeXT"].build()
    processor.chat_template = None
    processor.save_pretrained(tmp_path)
    with pytest.raises(InvalidArgumentError, match="no chat template"):
        opened(pretrained=tmp_path, budget=5)


@pytest.mark.parametrize("method", ["sts", "divprune", "fastv", "pyramiddrop"])
def test_small_image_keeps_all_it_has(folders, method):
    """A budget is an upper bound: one thumbnail does not end a benchmark."""
    budget = 150  # above what the small picture gives, below the large one's
    model, processor, asked = opened(
        pretrained=folders / "LLaVA-NeXT", budget=budget, method=method
    )
    small, large = [ask((20, 40))], [ask((90, 90))]
    task = {"max_new_tokens": 2}
    unpruned, _ = answer_batch(model, processor, small, task)
    with prune(model, asked) as trace:
        assert answer_batch(model, processor, small, task)[0] == unpruned
        (seen,) = tokens_seen(trace, 6)
        assert seen == 36 + 72
        answer_batch(model, processor, large, task)
        (seen,) = tokens_seen(trace, 6)
        assert budget - 6 < seen <= budget
        answer_batch(model, processor, small + large, task)
        assert tokens_seen(trace, 6) == [36 + 72, seen]
        no_image = [[{"role": "user", "content": "w5 w6"}]]
        answer_batch(model, processor, no_image, task)
        assert tokens_seen(trace, 6) == []


@pytest.mark.parametrize("family", ["LLaVA-NeXT", "Gemma 3", "Idefics3"])
def test_batches_answer_like_single_prompts(folders, family):
    """Rows with one, two and no images, padded, as each alone."""
    model, processor, method = opened(pretrained=folders / family, budget=0.4)
    two = ask((60, 30), "w9")
    two[0]["content"] = ask((30, 60))[0]["content"][:1] + two[0]["content"]
    prompts = [ask((40, 40)), two, [{"role": "user", "content": "w7 w8 w9"}]]
    task = {"max_new_tokens": 5, "temperature": 0, "do_sample": False}
    with prune(model, method):
        together, counts = answer_batch(model, processor, prompts, task)
        alone = [answer_batch(model, processor, [prompt], task)[0][0] for prompt in prompts]
    assert together == alone
    assert all(together)
    assert counts == [5, 5, 5]
