"""Which rows of an encoder's output stay, and what travels with them."""

import pytest
import torch

from stsprune import repulsion
from stsprune.engine.visual import Plane, Visual, square
from stsprune.selection.budget import kept_tokens
from stsprune.serving.channels import attach, detach
from stsprune.serving.choose import choose, kept_length

TILED = Visual((Plane((4, 4)), Plane((6, 5), newline=True)))


@pytest.mark.parametrize(("budget", "kept"), [(7, 7), (25, 25), (99, 25), (0.2, 5), (0.01, 1)])
def test_kept_tokens(budget, kept):
    assert kept_tokens(budget, 25) == kept
    assert kept_length(square(5), budget) == kept


def test_repulsion_chooses():
    features = [torch.randn(25, 8) for _ in range(3)]
    kept = choose(features, [square(5)] * 3, 9)
    expected = repulsion(torch.stack(features), square(5).positions(), 9).sort(-1).values
    assert torch.equal(torch.stack(kept), expected)


def test_newlines_stay_and_sizes_mix():
    visuals = [TILED, square(5), TILED]
    features = [torch.randn(visual.length, 8) for visual in visuals]
    kept = choose(features, visuals, 12)
    for visual, own in zip(visuals, kept, strict=True):
        assert len(own) == kept_length(visual, 12)
        assert own.tolist() == sorted(set(own.tolist()))
    newlines = set(range(TILED.length)) - set(TILED.offsets().tolist())
    assert len(newlines) == 6
    assert newlines <= set(kept[0].tolist())
    assert torch.equal(
        kept[0], choose([features[0]], [TILED], 12)[0]
    )  # no matter what is beside it


def test_the_text_chooses():
    features = torch.nn.functional.normalize(torch.randn(25, 64), dim=-1) * 8
    spread = repulsion(features[None], square(5).positions(), 7)[0]
    asked = features[spread[-2:]] * 20
    kept = choose([features], [square(5)], 4, [asked])[0]
    assert set(spread[-2:].tolist()) <= set(kept.tolist()) <= set(spread.tolist())
    assert set(spread[-2:].tolist()) - set(choose([features], [square(5)], 4)[0].tolist())
    silent = choose([features], [square(5)], 4, [features[:0]])[0]
    assert torch.equal(silent, choose([features], [square(5)], 4)[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_offsets_survive_every_number_format(dtype):
    offsets = torch.tensor([[0, 0, 0], [1, 127, 128], [255, 257, 2879], [12345, 20001, 32767]])
    rows = torch.randn(4, 8).to(dtype)
    plain, found = detach(attach(rows, offsets))
    assert torch.equal(plain, rows)
    assert torch.equal(found, offsets)
