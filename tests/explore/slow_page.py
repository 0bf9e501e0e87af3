"""The page on the embedded model with decoder layers that sleep: slow_page.py PORT."""

from __future__ import annotations

import sys
import time

from stsprune.checkpoints import load_checkpoint
from stsprune.explore.serve import open_page

SECONDS = 0.05


def slow():
    model, processor = load_checkpoint()
    for layer in model.model.language_model.layers:
        layer.register_forward_hook(lambda *_: time.sleep(SECONDS))
    return model, processor


if __name__ == "__main__":
    page, *_ = open_page(slow, "slow", port=int(sys.argv[1]))
    page.block_thread()
