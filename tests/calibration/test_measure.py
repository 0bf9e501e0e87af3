"""Measurements: forced agreement is generation's, and sharing changes nothing."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from processors import PROCESSORS
from zoo import shared as zoo_model

from stsprune import STS, prune
from stsprune.calibration.forced import cut, end_tokens, greedy
from stsprune.calibration.inputs import encode
from stsprune.calibration.measure import Measurer, is_right
from stsprune.calibration.prompts import Prompt, read_prompts
from stsprune.calibration.shared import Nested
from stsprune.method import methods

LONGEST = 4


def spoken(model, processor, prompts, method):
    """Greedy answers, generated."""
    inputs = encode(model, processor, prompts)
    with prune(model, method):
        said = greedy(model, inputs, LONGEST).tolist()
    return [cut(one, end_tokens(model)) for one in said]


def test_forced_agreement_is_that_of_generated_answers(embedded, data):
    model, processor = embedded
    prompts = read_prompts(data)[:16]
    measurer = Measurer(model, processor, prompts, [range(16)], 16, LONGEST)
    tried = [STS(1.0), STS(9), STS(4)]
    outcomes = measurer.measure(0, tried)
    whole = spoken(model, processor, prompts, tried[0])
    assert all(one.same and one.kl < 1e-6 and one.tokens == 1 for one in outcomes[0])
    for method, seen in zip(tried, outcomes, strict=True):
        mine = spoken(model, processor, prompts, method)
        assert [a == b for a, b in zip(mine, whole, strict=True)] == [one.same for one in seen]
        assert [one.visual for one in seen] == pytest.approx([seen[0].visual] * 16)
    assert not all(one.same for one in outcomes[2])
    labels = [one.right for one in outcomes[2]]
    texts = [
        processor.tokenizer.decode(one, skip_special_tokens=True)
        for one in spoken(model, processor, prompts, tried[2])
    ]
    assert labels == [is_right(t, p.answer) for t, p in zip(texts, prompts, strict=True)]


@pytest.mark.filterwarnings("ignore:family 'generic' guesses")
def test_a_guessed_family_measures_the_same(embedded, data):
    prompts = read_prompts(data)[:8]
    known, guessed = (
        Measurer(*embedded, prompts, [range(8)], 8, LONGEST, family=family)
        for family in ("LLaVA-1.5", "generic")
    )
    assert known.measure(0, [STS(9)]) == guessed.measure(0, [STS(9)])


@pytest.mark.parametrize("family", ["LLaVA-NeXT", "Idefics3", "Gemma 3"])
def test_other_families_with_pictures_of_several_sizes(family):
    model, processor = zoo_model(family), PROCESSORS[family].build()
    sizes = [(60, 40), (40, 60), (50, 50)]
    prompts = [
        Prompt(f"w{5 + n} w{6 + n}", (Image.new("RGB", size, (90 * n, 80, 9)),))
        for n, size in enumerate(sizes)
    ]
    measurer = Measurer(model, processor, prompts, [range(3)], 3, LONGEST)
    whole, half = measurer.measure(0, [STS(1.0), STS(0.4)])
    assert all(one.same for one in whole)
    assert all(one.visual < other.visual for one, other in zip(half, whole, strict=True))
    said = [spoken(model, processor, prompts, method) for method in (STS(1.0), STS(0.4))]
    assert [one.same for one in half] == [a == b for a, b in zip(*said, strict=True)]


def test_pictures_are_encoded_once(embedded, data, monkeypatch):
    model, processor = embedded
    calls = []
    encoder = model.model.vision_tower
    handle = encoder.register_forward_hook(lambda *_: calls.append(1))
    before = set(vars(model.model))
    measurer = Measurer(model, processor, read_prompts(data)[:8], [range(8)], 4, LONGEST)
    measurer.measure(0, [STS(1.0), STS(16)])
    measurer.measure(0, [STS(8), STS(8, space=0.1)])
    handle.remove()
    assert len(calls) == 2  # batches
    assert set(vars(model.model)) == before


@pytest.mark.parametrize("name", [*("sts", "fastv", "visionzip", "tome"), "shared room is full"])
def test_sharing_changes_no_outcome(embedded, data, name, monkeypatch):
    model, processor = embedded
    prompts = read_prompts(data)[:4]
    if name not in methods():
        monkeypatch.setattr("stsprune.calibration.measure.KEPT_BYTES", 0)
        name = "sts"
    kind = methods()[name]
    after = Measurer(model, processor, prompts, [range(4)], 4, LONGEST)
    after.measure(0, [kind(100)])
    after.measure(0, [kind(90)])
    alone = Measurer(model, processor, prompts, [range(4)], 4, LONGEST)
    assert after.measure(0, [kind(80)]) == alone.measure(0, [kind(80)])


def test_the_nested_order_is_the_choice(embedded, data):
    model, processor = embedded
    inputs = encode(model, processor, read_prompts(data)[:3])
    orders: dict = {}
    potentials = [STS(60, potential=mu) for mu in (7.0, 5.0)]  # counts mix
    for candidate in (STS(60), STS(30), *potentials, STS(7)):
        kept = []
        for method in (candidate, Nested(candidate, orders)):
            with torch.inference_mode(), prune(model, method) as trace:
                model(**inputs)
            kept.append([s.kept.tolist() for image in trace.images for s in image.stages])
        assert kept[0] == kept[1]
    assert len(orders) == 3  # one of each picture
