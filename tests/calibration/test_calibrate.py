"""`stsprune.calibrate` from end to end on the embedded model."""

from __future__ import annotations

import json

import pytest

import stsprune
from stsprune.calibration import read_prompts
from stsprune.calibration.inputs import split
from stsprune.calibration.prompts import Prompt
from stsprune.errors import InvalidArgumentError, InvalidTypeError

ONCE_MORE = {"target": 0.9, "batch": 10, "max_new_tokens": 4}


def test_result(finished):
    folder, found = finished
    assert found.chosen.held_out.same >= 0.9
    assert found.chosen.search.same >= 0.9
    assert found.method.budget < 72
    assert found.curve[-1].search.same == 1
    assert found.curve[-1].method.budget == 1.0
    assert [one.search.visual for one in found.curve] == sorted(
        one.search.visual for one in found.curve
    )
    held = found.chosen.held_out
    assert held.low < held.same <= held.high
    assert found.chosen.cost.kv < 0.7
    assert found.unpruned.kv == found.unpruned.time == 1
    assert found.accuracy > 0.8
    assert {one.name for one in folder.iterdir()} == {
        *("recipe.json", "report.html", "calibration.json", "setup.json", "measured")
    }
    both = found.chosen.search.prompts + held.prompts
    assert both == 40
    assert sum(one.prompts for one in found.chosen.kinds.values()) == both
    assert len(found.changed) == found.changed_count
    for one in found.changed:
        assert one.unpruned != one.pruned
        assert one.pictures[0].pixels.ndim == 3


def test_the_method_prunes(finished, embedded, data):
    model, _ = embedded
    folder, found = finished
    method = stsprune.load_recipe(folder / "recipe.json", model)
    assert repr(method) == repr(found.method)
    with stsprune.prune(model, method):
        pass


def test_the_same_call_goes_on(finished, embedded, data):
    folder, found = finished
    seen = []
    again = stsprune.calibrate(
        *embedded,
        read_prompts(data),
        out=folder,
        begin=lambda text, work: seen.append((text, work)),
        **ONCE_MORE,
    )
    assert all(
        work == 0 for text, work in seen if text not in ("time and memory", "changed answers")
    )
    assert again.chosen.held_out == found.chosen.held_out
    assert repr(again.method) == repr(found.method)


def test_an_interruption_keeps_what_was_measured(embedded, data, tmp_path):
    prompts, steps = read_prompts(data), []

    def stop(count):
        steps.append(count)
        if len(steps) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stsprune.calibrate(*embedded, prompts, out=tmp_path, advance=stop, **ONCE_MORE)
    assert len(list((tmp_path / "measured").iterdir())) == 1
    assert not (tmp_path / "recipe.json").exists()

    def begin(text, work):
        assert work == len(split(prompts)[0]) - 10  # the first batch is not run again
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stsprune.calibrate(*embedded, prompts, out=tmp_path, begin=begin, **ONCE_MORE)


def test_another_run_is_not_mixed_in(finished, embedded, data, tmp_path):
    folder, _ = finished
    prompts = read_prompts(data)
    other = [Prompt("what is the background?", prompts[0].images), *prompts[1:]]
    before = (folder / "recipe.json").read_bytes()
    for given, more, message in (
        (other, {}, r"what\.jsonl has changed since"),
        (prompts, {"batch": 4}, "another batch"),
        (prompts, {"settings": {"space": 0.1}}, "another method"),
        (prompts, {"family": "generic"}, "another family"),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            stsprune.calibrate(
                *embedded, given, out=folder, data="what.jsonl", **(ONCE_MORE | more)
            )
    assert (folder / "recipe.json").read_bytes() == before
    (tmp_path / "measured").mkdir()
    with pytest.raises(InvalidArgumentError, match=r"setup\.json' is missing"):
        stsprune.calibrate(*embedded, prompts, out=tmp_path, **ONCE_MORE)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"target": 0}, InvalidArgumentError, r"target must be in \(0, 1\].* got 0"),
        ({"target": 1.5}, InvalidArgumentError, r"target must be in \(0, 1\].* got 1.5"),
        ({"target": "high"}, InvalidTypeError, "target must be a number"),
        ({"batch": 0}, InvalidArgumentError, "batch must be an int >= 1"),
        ({"max_new_tokens": True}, InvalidArgumentError, "max_new_tokens must be an int >= 1"),
        ({"method": "magic"}, InvalidArgumentError, "method must be one of"),
        ({"family": "Qwen9"}, InvalidArgumentError, "family must be one of"),
        ({"positions": "new"}, InvalidArgumentError, "positions must be one of"),
    ],
)
def test_bad_arguments(embedded, data, wrong, error, message):
    with pytest.raises(error, match=message):
        stsprune.calibrate(*embedded, read_prompts(data), **wrong)


def test_words_that_the_model_does_not_know(embedded, data):
    prompts = read_prompts(data)
    odd = Prompt("what Giraffe?", prompts[0].images, where="line 7")
    with pytest.raises(InvalidArgumentError, match=r"line 7 must ask in words .* 'Giraffe'"):
        stsprune.calibrate(*embedded, [*prompts, odd])
    film = Prompt("what?", video=prompts[0].images, where="line 8")
    with pytest.raises(InvalidArgumentError, match=r"line 8 must have images: .* no video"):
        stsprune.calibrate(*embedded, [*prompts, film])


def test_the_report_is_one_file_and_escapes(finished):
    folder, found = finished
    text = (folder / "report.html").read_text()
    assert "http" not in text.replace("http-equiv", "")
    assert "<script" not in text
    from dataclasses import replace

    from stsprune.viz.calibrated import calibration_page

    odd = [replace(one, question="<b>&", pruned="<i>") for one in found.changed[:1]]
    if odd:
        page = calibration_page(found.document(), odd)
        assert "&lt;b&gt;&amp;" in page
        assert "<i>" not in page
    assert json.loads((folder / "calibration.json").read_text())["chosen"]["budget"]
