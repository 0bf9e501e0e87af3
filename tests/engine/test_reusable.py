"""reusable=True: every question chooses afresh among the tokens of the structure stage."""

from __future__ import annotations

import copy

import pytest
import torch
from differences import judged
from test_families import METHODS, STEPS, TOLERANCE, decode, forced, forget, next_positions
from zoo import DEPTH, HYBRIDS, IMAGE, KITS, VOCABULARY, WINDOWED, WORDS, enough, shared

import stsprune
from stsprune.engine.compat import CACHE
from stsprune.engine.families import family_of
from stsprune.engine.trace import Trace
from stsprune.errors import UnsupportedModeError
from stsprune.method import STS

PLAIN = [name for name in KITS if name not in {*WINDOWED, *HYBRIDS}]


def parts(trace, stages):
    """The images of a trace with only some of their stages."""
    images = copy.deepcopy(trace.images)
    for image in images:
        image.stages = [stage for stage in image.stages if stage.name == stages]
    return Trace(images)


ROWS = {
    "one image": [[3, "image", 5]],
    "rows of different length": [[3, "image", 2], [7], [2, "image", 1, "image", 6]],
}


def behind_images(inputs):
    """Per row, the column behind its last placeholder: [B]."""
    ids = inputs["input_ids"]
    marks = (ids == IMAGE) * torch.arange(1, ids.shape[1] + 1)
    return marks.amax(1)


@pytest.mark.parametrize(
    ("family", "method", "rows"), enough(PLAIN, ["both", "several semantic layers"], list(ROWS))
)
def test_first_question(family, method, rows):
    model, continuation = shared(family), forced(len(ROWS[rows]))
    inputs = KITS[family].inputs(model, ROWS[rows])
    with torch.no_grad(), stsprune.prune(model, METHODS[method], reusable=True) as trace:
        out = model(**inputs, use_cache=True)
        cache, first = getattr(out, CACHE), [out.logits[:, -1]]
        got = decode(model, inputs, continuation, cache, first)
    question = [(behind_images(inputs), parts(trace, "semantics"))]
    kept = parts(trace, "structure")
    name = f"{family}, reusable"
    assert judged(name, got, model, inputs, kept, continuation, question) < TOLERANCE
    assert len({layer.keys.shape[2] for layer in cache.layers}) == 1


@pytest.mark.parametrize("family", PLAIN)
def test_a_new_question_filters_afresh(family):
    kit, model = KITS[family], shared(family)
    method = STS(0.25, layer=1, ratio=2.0)
    inputs = kit.inputs(model, [[3, "image", 4]])
    length = inputs["input_ids"].shape[1]
    random = torch.Generator().manual_seed(3)
    question = torch.randint(WORDS.start, WORDS.stop, (1, 6), generator=random)
    answer, last = forced(1)[:, :2], forced(1, seed=9)
    said = torch.cat([answer, question], 1)
    with torch.no_grad(), stsprune.prune(model, method, reusable=True) as trace:
        cache = getattr(model(**inputs, use_cache=True), CACHE)
        decode(model, inputs, answer, cache, [torch.zeros(1, VOCABULARY)])
        earlier = copy.deepcopy(trace)
        mask = torch.ones(1, length + 8, dtype=torch.long)
        given = {"input_ids": question, "attention_mask": mask, CACHE: cache}
        at = next_positions(model, inputs)
        if at is not None:
            given["position_ids"] = (at + 2 + torch.arange(6)).expand(len(at), -1, -1)
        out = model(**given)
        whole = longer(family_of(model), inputs, said)
        got = decode(model, whole, last, cache, [out.logits[:, -1]])
    forget(model)
    questions = [
        (behind_images(inputs), parts(earlier, "semantics")),
        (length + 2, parts(trace, "semantics")),
    ]
    held, forced_ids = parts(earlier, "structure"), torch.cat([said, last], 1)
    asked = (inputs, held, forced_ids, questions)
    assert judged(f"{family}, reusable", got, model, *asked, behind=8) < TOLERANCE
    kept = [one.images[0].stages[-1].kept for one in (earlier, trace)]
    assert len(kept[0]) == len(kept[1])
    assert got.shape[1] == 1 + STEPS
    assert {cache.layers[layer].get_seq_length() for layer in range(DEPTH)} == {
        int(length - trace.images[0].tokens + len(trace.images[0].stages[0].kept)) + 8 + STEPS
    }


def longer(family, inputs, tokens):
    whole = dict(inputs)
    for name, value in inputs.items():
        if torch.is_tensor(value) and value.shape == inputs["input_ids"].shape:
            text = torch.full_like(tokens, family.text_inputs.get(name, 0)).to(value)
            whole[name] = torch.cat([value, text], 1)
    whole["input_ids"] = torch.cat([inputs["input_ids"], tokens], 1)
    return whole


@pytest.mark.parametrize("family", WINDOWED)
def test_sliding_windows_are_refused(family):
    model = shared(family)
    inputs = KITS[family].inputs(model, [[3, "image", 5]])
    with (
        pytest.raises(UnsupportedModeError, match="reusable must be False"),
        stsprune.prune(model, METHODS["both"], reusable=True),
    ):
        model(**inputs)
