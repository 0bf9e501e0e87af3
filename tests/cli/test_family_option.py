"""`--family` of `stsprune ask`, `check` and `calibrate`."""

from __future__ import annotations

import json

import pytest

QUESTION = "what is the background?"


@pytest.mark.filterwarnings("ignore:family 'generic' guesses")
def test_generic_answers_as_the_family_does(call, picture):
    words = ("ask", picture, QUESTION, "--budget", "0.25", "--json")
    known = json.loads(call(*words).stdout)
    guessed = json.loads(call(*words, "--family", "generic").stdout)
    assert known.pop("prefill_ms") > 0
    assert guessed.pop("prefill_ms") > 0
    assert guessed == known


@pytest.mark.parametrize("command", ["ask", "check", "calibrate"])
def test_an_unknown_name(command, refused, picture, tmp_path):
    words = {
        "ask": (picture, QUESTION),
        "check": ("--image", picture),
        "calibrate": ("--data", picture, "--out", tmp_path / "run"),
    }[command]
    message = refused(command, *words, "--family", "Qwen9", "--model", "not-opened")
    assert "family must be one of" in message
    assert "got 'Qwen9'" in message
