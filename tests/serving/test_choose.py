"""Which rows of an encoder's output stay, and what travels with them."""

import pytest
import torch
from waits import Waits

from stsprune import repulsion
from stsprune.engine.visual import Plane, Visual, square
from stsprune.selection.budget import kept_tokens
from stsprune.selection.repulsion import sample
from stsprune.serving import choose as choosing
from stsprune.serving.channels import attach, detach
from stsprune.serving.choose import choose, kept_length

TILED = Visual((Plane((4, 4)), Plane((6, 5), newline=True)))


@pytest.mark.parametrize(("budget", "kept"), [(7, 7), (25, 25), (99, 25), (0.2, 5), (0.01, 1)])
def test_kept_tokens(budget, kept):
    assert kept_tokens(budget, 25) == kept
    assert kept_length(square(5), budget) == kept


def test_repulsion_chooses():
    features = [torch.randn(25, 8) for _ in range(3)]
    kept = choose(features, [square(5)] * 3, [9] * 3)
    expected = repulsion(torch.stack(features), square(5).positions(), 9).sort(-1).values
    assert torch.equal(torch.stack(kept), expected)


def test_newlines_stay_and_sizes_mix():
    visuals = [TILED, square(5), TILED]
    features = [torch.randn(visual.length, 8) for visual in visuals]
    kept = choose(features, visuals, [12] * 3)
    for visual, own in zip(visuals, kept, strict=True):
        assert len(own) == kept_length(visual, 12)
        assert own.tolist() == sorted(set(own.tolist()))
    newlines = set(range(TILED.length)) - set(TILED.offsets().tolist())
    assert len(newlines) == 6
    assert newlines <= set(kept[0].tolist())
    assert torch.equal(
        kept[0], choose([features[0]], [TILED], [12])[0]
    )  # no matter what is beside it


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", ["one value", "one token", "all"])
def test_features_that_are_not_finite(bad, where):
    """As many places as ever, all different, and the picture beside it as if it were alone."""
    good, spoiled = torch.randn(25, 8), torch.randn(25, 8)
    if where == "one value":
        spoiled[3, 2] = bad
    else:
        spoiled[3 if where == "one token" else slice(None)] = bad
    kept, beside = choose([spoiled, good], [square(5)] * 2, [9] * 2)
    assert len(set(kept.tolist())) == 9
    assert torch.equal(beside, choose([good], [square(5)], [9])[0])


def test_budgets_of_their_own():
    features = [torch.randn(25, 8)] * 4
    kept = choose(features, [square(5)] * 4, [4, 9, 0.36, 25])
    assert [len(one) for one in kept] == [4, 9, 9, 25]
    assert torch.equal(kept[1], kept[2])
    assert torch.equal(kept[0], choose(features[:1], [square(5)], [4])[0])


def test_tables_of_few_images_at_once(monkeypatch):
    """A burst of large pictures makes no larger table than few of them do."""
    features = [torch.randn(25, 8) for _ in range(7)]
    whole = choose(features, [square(5)] * 7, [9] * 7)
    sizes = []

    def watched(tokens, *rest):
        sizes.append(len(tokens))
        return sample(tokens, *rest)

    monkeypatch.setattr(choosing, "sample", watched)
    monkeypatch.setattr(choosing, "TABLES", 2 * 4 * 25**2)
    parts = choose(features, [square(5)] * 7, [9] * 7)
    assert sizes == [2, 2, 2, 1]
    assert all(torch.equal(a, b) for a, b in zip(whole, parts, strict=True))


def test_no_waiting():
    features = [torch.randn(25, 8) for _ in range(3)] + [torch.randn(TILED.length, 8)]
    with Waits():
        choose(features, [square(5)] * 3 + [TILED], [9] * 4)
    with pytest.raises(AssertionError), Waits():
        features[0].nonzero()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_offsets_survive_every_number_format(dtype):
    offsets = torch.tensor([[0, 0, 0], [1, 127, 128], [255, 257, 2879], [12345, 20001, 32767]])
    rows = torch.randn(4, 8).to(dtype)
    plain, found = detach(attach(rows, offsets))
    assert torch.equal(plain, rows)
    assert torch.equal(found, offsets)
