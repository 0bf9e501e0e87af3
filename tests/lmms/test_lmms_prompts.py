"""lmms-eval's messages and generation settings, read."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from stsprune.errors import UnsupportedModeError
from stsprune.lmms.decoding import cut, generate_settings, stop_texts
from stsprune.lmms.prompts import read_messages


def test_messages(tmp_path):
    path = tmp_path / "a.png"
    Image.new("L", (3, 2), 7).save(path)
    parts = [
        {"type": "image", "url": Image.new("RGBA", (4, 5))},
        {"type": "text", "text": "what?"},
        {"type": "image", "url": str(path)},
    ]
    chat, images = read_messages(
        [{"role": "system", "content": "be short"}, {"role": "user", "content": parts}]
    )
    kinds = [[part["type"] for part in message["content"]] for message in chat]
    assert kinds == [["text"], ["image", "text", "image"]]
    assert [(image.mode, image.size) for image in images] == [("RGB", (4, 5)), ("RGB", (3, 2))]
    assert np.array(images[1]).max() == 7


@pytest.mark.parametrize("kind", ["video", "audio"])
def test_other_media_are_refused(kind):
    messages = [{"role": "user", "content": [{"type": kind, "url": "x"}]}]
    with pytest.raises(UnsupportedModeError, match=f"this one shows {kind}"):
        read_messages(messages)


def test_generation_settings():
    greedy = {"max_new_tokens": 16, "temperature": 0, "top_p": 1.0, "num_beams": 1}
    expected = {"max_new_tokens": 16, "num_beams": 1, "do_sample": False}
    off = {"temperature": None, "top_p": None, "top_k": None}
    assert generate_settings(greedy | {"image_aspect_ratio": "pad"}) == expected | off
    assert generate_settings({}) == {"max_new_tokens": 1024, "do_sample": False} | off
    sampled = generate_settings({"temperature": 0.7, "top_p": 0.9})
    assert (sampled["do_sample"], sampled["temperature"], sampled["top_p"]) == (True, 0.7, 0.9)
    assert generate_settings({"temperature": 0.7, "do_sample": False})["do_sample"] is False


def test_stop_texts():
    assert stop_texts({"until": "\n"}) == ["\n"]
    assert stop_texts({"until": ["ASSISTANT:", ""]}) == ["ASSISTANT:"]
    assert stop_texts({}) == []
    assert cut(" red\nASSISTANT: blue", ["ASSISTANT:", "\n"]) == "red"
