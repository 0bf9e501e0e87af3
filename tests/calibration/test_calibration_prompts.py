"""Data files: what is read, and one line for each slip: file, line and what is allowed."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from stsprune.calibration.inputs import split
from stsprune.calibration.prompts import (
    Prompt,
    check_prompts,
    digest,
    read_folder,
    read_prompts,
)
from stsprune.errors import InvalidArgumentError

GOOD = {"images": ["a.png"], "question": "what?"}


def written(folder, *lines, count=40):
    Image.new("RGB", (8, 8), "red").save(folder / "a.png")
    path = folder / "data.jsonl"
    texts = [one if isinstance(one, str) else json.dumps(one) for one in lines]
    path.write_text("\n".join([*texts, *[json.dumps(GOOD)] * (count - len(lines))]) + "\n\n")
    return path


def test_reads_all(tmp_path):
    line = {"images": "a.png", "question": " who? ", "answer": "me", "kind": "people"}
    prompts = read_prompts(written(tmp_path, line, {"video": ["a.png"] * 2, "question": "q"}))
    assert len(prompts) == 40
    first, second = prompts[:2]
    assert (first.question, first.answer, first.kind) == ("who?", "me", "people")
    assert first.images == (tmp_path / "a.png",)
    assert second.video == (tmp_path / "a.png",) * 2
    assert first.pictures()[0].size == (8, 8)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2 must be a JSON object with images and question"),
        ("[1]", "line 2 must be a JSON object .* got list"),
        ({"images": ["a.png"]}, "line 2 must have a question, a text, got None"),
        (GOOD | {"question": " "}, "line 2 must have a question"),
        (GOOD | {"anser": "x"}, "line 2 must have the keys images, video, .* got 'anser'"),
        (GOOD | {"answer": 3}, "line 2 must have a text as answer, got 3"),
        ({"question": "q"}, "line 2 must have images or video, neither given"),
        (GOOD | {"video": ["a.png"]}, "line 2 must have images or video, both given"),
        (GOOD | {"images": []}, "line 2 must list at least one file as images"),
        (GOOD | {"images": [1]}, "line 2 must list files as images, got 1"),
    ],
)
def test_broken_lines(tmp_path, line, message):
    with pytest.raises(InvalidArgumentError, match=rf"data\.jsonl', {message}"):
        read_prompts(written(tmp_path, GOOD, line))


def test_missing_pictures_are_found_before_any_work(tmp_path):
    prompts = read_prompts(written(tmp_path, GOOD, GOOD | {"images": ["b.png"]}))
    with pytest.raises(InvalidArgumentError, match=r"line 2: image file .*b\.png' does not exist"):
        digest(prompts)


def test_too_few(tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"at least 40 prompts, got 39"):
        read_prompts(written(tmp_path, count=39))
    with pytest.raises(InvalidArgumentError, match=r"at least 40 prompts, got none"):
        check_prompts([])
    with pytest.raises(InvalidArgumentError, match="does not exist"):
        read_prompts(tmp_path / "no.jsonl")


def test_a_folder_of_pictures(tmp_path):
    questions, pictures = tmp_path / "questions.txt", tmp_path / "pictures"
    pictures.mkdir()
    questions.write_text("what?\n\nwhere?\n")
    with pytest.raises(InvalidArgumentError, match="must hold pictures"):
        read_folder(pictures, questions)
    for number in range(20):
        Image.new("RGB", (8, 8)).save(pictures / f"{number}.png")
    assert len(read_folder(pictures, questions)) == 40
    questions.write_text("\n")
    with pytest.raises(InvalidArgumentError, match="a question a line, got none"):
        read_folder(pictures, questions)


def test_digest_reads_words_and_pixels(tmp_path):
    prompts = read_prompts(written(tmp_path))
    before = digest(prompts)
    assert digest(read_prompts(tmp_path / "data.jsonl")) == before
    Image.new("RGB", (8, 8), "blue").save(tmp_path / "a.png")
    assert digest(prompts) != before
    assert digest([Prompt("other", prompts[0].images), *prompts[1:]]) != digest(prompts)


def test_halves_share_no_picture():
    prompts = [Prompt(f"q{n}", (f"{n // 4}.png",)) for n in range(80)]
    first, second = split(prompts, 3)
    assert sorted(first + second) == list(range(80))
    assert len(first) == len(second) == 40
    assert not {n // 4 for n in first} & {n // 4 for n in second}
    assert split(prompts, 3) == (first, second) != split(prompts, 4)
    with pytest.raises(InvalidArgumentError, match="two different pictures"):
        split(prompts[:4])
