"""What a user can get wrong ends in one clear line and exit code 2."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

QUESTION = "what is the background?"


@pytest.mark.parametrize("budget", ["0", "-3", "0.0", "1.5", "nan", "inf", "many", ""])
def test_bad_budget(refused, picture, budget):
    line = refused("ask", picture, QUESTION, "--budget", budget)
    assert "budget must be" in line
    assert repr(budget) in line


def test_budget_above_the_number_of_tokens(call, picture, embedded_is_untrained):
    """An upper bound: nothing is pruned."""
    told = [
        json.loads(call("ask", picture, QUESTION, *words, "--json").stdout)
        for words in (("--budget", "145"), ("--method", "none"))
    ]
    assert told[0]["answer"] == told[1]["answer"]
    assert [one["visual_tokens"] for one in told] == [144, 144]


@pytest.mark.parametrize("question", ["", "   "])
def test_empty_question(refused, picture, question):
    line = refused("ask", picture, question)
    assert "question must not be empty" in line


def test_unknown_words_are_named(refused, picture, embedded_is_untrained):
    line = refused("ask", picture, "what Giraffe is on the  sofa?")
    assert "'Giraffe', 'sofa'" in line


def test_image_marker_in_the_question(refused, picture, embedded_is_untrained):
    line = refused("ask", picture, "what is <image>?")
    assert "'<image>'" in line


def test_unknown_method(refused, picture):
    line = refused("ask", picture, QUESTION, "--method", "magic")
    assert "method must be one of" in line
    assert "sts" in line


@pytest.mark.parametrize("name", ["missing.png", "broken.png", "wide.png"])
def test_bad_pictures(refused, tmp_path, name):
    if name == "broken.png":
        (tmp_path / name).write_text("not a picture")
    elif name == "wide.png":
        Image.new("1", (2000, 3)).save(tmp_path / name)
    line = refused("ask", tmp_path / name, QUESTION)
    assert name in line


def test_picture_that_cannot_be_written(refused, picture, tmp_path):
    refused("ask", picture, QUESTION, "--show", tmp_path / "kept.txt")


def model_folder(tmp_path, kind: str):
    folder = tmp_path / "model"
    folder.mkdir()
    config: dict = {"model_type": "llava", "vision_config": {}, "text_config": {}}
    if kind == "text only":
        config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
        (folder / "model.safetensors").write_bytes(b"")
    elif kind == "unknown type":
        config = {"model_type": "no-such-type"}
        (folder / "model.safetensors").write_bytes(b"")
    elif kind == "pickle":
        (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    elif kind == "damaged":
        (folder / "model.safetensors").write_bytes(b"\x00" * 64)
    if kind == "bad json":
        (folder / "config.json").write_text("{")
        (folder / "model.safetensors").write_bytes(b"")
    elif kind != "empty":
        (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("text only", "is no vision-language model .*'llama'"),
        ("unknown type", "cannot be opened"),
        ("pickle", r"pickle weights only \(pytorch_model.bin\).*convert them to safetensors"),
        ("no weights", r"holds no \*.safetensors"),
        ("damaged", "cannot be loaded"),
        ("bad json", "cannot be opened"),
        ("empty", "holds no config.json"),
    ],
)
def test_bad_models(refused, picture, tmp_path, kind, message):
    line = refused("ask", picture, QUESTION, "--model", model_folder(tmp_path, kind))
    assert re.search(message, line)


@pytest.mark.parametrize("name", ["./missing", "/no/such/folder/at/all"])
def test_model_folder_that_is_missing(refused, picture, name):
    line = refused("ask", picture, QUESTION, "--model", name)
    assert "does not exist" in line


def test_model_that_is_a_file(refused, picture):
    line = refused("ask", picture, QUESTION, "--model", picture)
    assert "is a file" in line


def test_package_without_weights(refused, picture, tmp_path, monkeypatch):
    monkeypatch.setattr("stsprune.embedded.load.WEIGHTS", tmp_path / "weights")
    line = refused("ask", picture, QUESTION)
    assert "embedded weights are missing" in line


def test_interrupt_in_a_command(call, picture, monkeypatch):
    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr("stsprune.checkpoints.load_checkpoint", interrupted)
    result = call("ask", picture, QUESTION)
    assert result.exit_code == 130
    assert "Traceback" not in result.stderr


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_interrupt_of_the_program(picture):
    # A named pipe that nobody writes to keeps the program waiting, so the signal finds it at work.
    pipe = picture.with_name("pipe.png")
    os.mkfifo(pipe)
    program = subprocess.Popen(
        [sys.executable, "-m", "stsprune.cli", "ask", str(pipe), QUESTION],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        # A shell's background jobs ignore SIGINT, and so would the program.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    _wait_for_a_reader(pipe)
    errors = _interrupt(program)
    assert program.returncode == 130
    assert "Traceback" not in errors


def _interrupt(program) -> str:
    """What it says to Ctrl-C; pressed again where Python was busy in a callback and dropped it."""
    for _ in range(5):
        program.send_signal(signal.SIGINT)
        try:
            return program.communicate(timeout=10)[1]
        except subprocess.TimeoutExpired:
            continue
    program.kill()
    raise TimeoutError("the program does not stop")


def _wait_for_a_reader(pipe) -> None:
    """Returns once a process has opened the pipe; the end held open here keeps it waiting."""
    for _ in range(600):
        try:
            os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError("nobody opened the pipe")
