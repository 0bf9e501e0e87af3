"""Any resolution with Qwen2.5-VL's real processor, which needs torchvision as lmms-eval does."""

from __future__ import annotations

import pytest
import transformers
from PIL import Image
from processors import TEMPLATE, tokenizer
from zoo import shared

from stsprune.engine import prune
from stsprune.errors import InvalidArgumentError, UnsupportedModeError
from stsprune.lmms.answering import answer_batch, tokens_seen
from stsprune.lmms.arguments import read_arguments
from stsprune.lmms.loading import largest, load

pytestmark = pytest.mark.lmms

DEPTH, PIXELS = 6, {"min_pixels": 16 * 16, "max_pixels": 64 * 64}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder, model = tmp_path_factory.mktemp("qwen"), shared("Qwen2.5-VL")
    vision = model.config.vision_config
    sizes = {
        "patch_size": vision.patch_size,
        "merge_size": vision.spatial_merge_size,
        "temporal_patch_size": vision.temporal_patch_size,
    }
    words = tokenizer()
    words.image_token, words.video_token = "<image>", "w59"
    processor = transformers.Qwen2_5_VLProcessor(
        transformers.Qwen2VLImageProcessor(**sizes),
        words,
        transformers.Qwen2VLVideoProcessor(**sizes),
        chat_template=TEMPLATE.replace("MARKER", "<image>"),
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def opened(folder, **arguments):
    return load(read_arguments({"pretrained": folder, "device": "cpu"} | arguments))


def ask(*size):
    image = {"type": "image", "url": Image.new("RGB", size, "red")}
    return [{"role": "user", "content": [image, {"type": "text", "text": "w5 w6"}]}]


def test_pixels_bound_the_images_and_small_ones_stay_whole(folder):
    model, processor, method = opened(folder, budget=40, **PIXELS)
    assert largest(processor) == 64
    task = {"max_new_tokens": 3}
    with prune(model, method) as trace:
        answer_batch(model, processor, [ask(200, 200), ask(16, 16)], task)
        assert tokens_seen(trace, DEPTH) == [40, 4]
        small = answer_batch(model, processor, [ask(16, 16)], task)
        assert tokens_seen(trace, DEPTH) == [4]
    assert small == answer_batch(model, processor, [ask(16, 16)], task)


def test_a_budget_out_of_reach_is_refused_before_the_run(folder):
    with pytest.raises(InvalidArgumentError, match="lower max_pixels"):
        opened(folder, budget=40, method="fastv")
    opened(folder, budget=40, method="fastv", **PIXELS)  # within reach at this resolution
    with pytest.raises(UnsupportedModeError, match="positions must be 'original'"):
        opened(folder, budget=40, positions="compact")
