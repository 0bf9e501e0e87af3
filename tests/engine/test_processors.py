"""Inputs as the families' own processors make them."""

from __future__ import annotations

import numpy as np
import pytest
from differences import judged
from PIL import Image
from processors import PROCESSORS
from test_families import METHODS, TOLERANCE, forced, run_pruned
from zoo import shared

SIZES = {"wide": (60, 40), "tall": (30, 50), "square": (48, 48)}


def picture(name):
    width, height = SIZES[name]
    random = np.random.default_rng(len(name))
    return Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))


ROWS = {
    "one image": [(["wide"], "MARKER w5 w6 w7")],
    "sizes and padding": [
        (["wide"], "MARKER w5 w6 w7"),
        (["tall"], "w9 w8 MARKER w5"),
        (["square"], "w4 MARKER w5 w6 w7 w8 w9"),
    ],
    "two images": [(["tall", "wide"], "w4 MARKER w5 MARKER w6 w7")],
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("family", PROCESSORS)
def test_equals_both_oracles(family, rows, method):
    model = shared(family)
    rows = [([picture(name) for name in names], text) for names, text in ROWS[rows]]
    inputs = dict(PROCESSORS[family].inputs(rows))
    continuation = forced(len(rows))
    got, trace, _, _ = run_pruned(model, METHODS[method], inputs, continuation)
    assert len(trace.images) == sum(len(images) for images, _ in rows)
    assert judged(family, got, model, inputs, trace, continuation) < TOLERANCE
