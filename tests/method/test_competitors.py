"""The competitors of 2025 and 2026 against examples worked out from their definitions."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from test_baselines import METHODS, attention, best, circle, tokens

from stsprune.errors import InvalidArgumentError
from stsprune.method import InstructionAttention, VisualTokens
from stsprune.method.base import EncoderView
from stsprune.selection import cell_centres

BEFORE = ("scope", "holov", "hiprune", "mmr", "dive", "vidcom2", "downsampling")
#: Whatever the order in which an image's tokens come, the same ones are kept.
ORDERLESS = ("scope", "mmr", "dive")


def picture(images=2, grid=(5, 6), width=12, seed=0, dtype=torch.float32):
    random = torch.Generator().manual_seed(seed)
    count = math.prod(grid)
    features = torch.randn(images, count, width, generator=random).to(dtype)
    received = torch.rand(images, count, generator=random)
    text = torch.randn(images, 4, width, generator=random).to(dtype)
    received /= received.sum(1, keepdim=True)
    layers = torch.stack((received.flip(1), received), -1)
    view = EncoderView(received, features, True, layers)
    positions = cell_centres(*grid[-2:]).repeat(math.prod(grid[:-2]), 1)
    return VisualTokens(features, positions, grid, tuple(range(images)), text, [4] * images, view)


def only(seen, image):
    """That image of a batch alone."""
    rows = slice(image, image + 1)
    whole = seen.encoder
    view = EncoderView(whole.received[rows], whole.keys[rows], True, whole.layers[rows])
    return VisualTokens(
        seen.features[rows], seen.positions, seen.grid, (image,), seen.text[rows], [4], view
    )


def test_scope_covers_before_it_repeats():
    """25 degrees covers most (3.295 of 4); then 90 gains 1 - cos 65 = 0.58, the others 0.11 each.

    Where 90 is hardly looked at (0.58 * 0.05), 10 is next: as much to gain as 0, but more salient.
    """
    spread = circle(0, 10, 25, 90)
    assert METHODS["scope"](2).select(tokens(spread, [1.0] * 4), 2).tolist() == [[2, 3]]
    seen = tokens(spread, [0.9, 1.0, 1.0, 0.05])
    assert METHODS["scope"](2).select(seen, 2).tolist() == [[2, 1]]
    assert METHODS["scope"](2, alpha=0.0).select(seen, 2).tolist() == [[2, 3]]


def test_scope_maximises_the_coverage_step_by_step():
    seen = only(picture(seed=4), 0)
    cosine = F.cosine_similarity(seen.features[0][:, None], seen.features[0][None], dim=-1).double()
    saliency, wanted = seen.encoder.received[0].double(), []

    def covered(kept):
        return float(cosine[kept].amax(0).clamp_min(0).sum()) if kept else 0.0

    for _ in range(7):
        gain = {i: covered([*wanted, i]) - covered(wanted) for i in range(30) if i not in wanted}
        wanted.append(max(gain, key=lambda i: gain[i] * float(saliency[i])))
    assert METHODS["scope"](7).select(seen, 7)[0].tolist() == wanted


def test_scope_falls_back_on_saliency_where_all_is_covered():
    seen = tokens(circle(0, 0, 0, 0), [0.1, 0.4, 0.2, 0.3])
    assert METHODS["scope"](3).select(seen, 3).tolist() == [[1, 3, 2]]


def test_mmr_weighs_importance_against_similarity():
    """Behind token 0: 0.45 - 0.5 cos 5 = -0.05, 0.25 - 0 and 0 + 0.5: 180 degrees, then 90."""
    seen = tokens(circle(0, 5, 90, 180), [1.0, 0.9, 0.5, 0.0])
    assert METHODS["mmr"](3).select(seen, 3).tolist() == [[0, 3, 2]]
    assert METHODS["mmr"](3, importance=1.0).select(seen, 3).tolist() == [[0, 1, 2]]


def test_holov_gives_quotas_to_crops():
    """Attention 0.6 and 0.2 in two crops: seats 3, 1, 0.6 and 1, 1/3, so three and one of four.

    In the second crop attention is even: the spread of the cosines decides. 0 degrees sees 0, 0.98
    and -1 (variance 0.657), 10 degrees 0.17, 0.98 and -0.98 (0.654).
    """
    looked = [0.3, 0.2, 0.1, 0.0, 0.05, 0.05, 0.05, 0.05]
    seen = tokens(circle(90, 10, 0, 180, 90, 10, 0, 180), looked)
    assert METHODS["holov"](4, crops=2).select(seen, 4).tolist() == [[0, 1, 2, 6]]
    plain = METHODS["holov"](4, crops=2, variance=0.0).select(seen, 4)
    assert plain.tolist() == [[0, 1, 2, 4]]
    one = METHODS["holov"](4, crops=1, variance=0.0).select(seen, 4)
    assert one.tolist() == [[0, 1, 2, 4]]


def test_holov_never_gives_a_crop_more_than_it_holds():
    """All the attention is in the first crop of two tokens: the rest goes to the others."""
    seen = tokens(circle(*range(6)), [0.5, 0.5, 0.0, 0.0, 0.0, 0.0])
    chosen = METHODS["holov"](4, crops=3).select(seen, 4)[0].tolist()
    assert len(set(chosen)) == 4
    assert {0, 1} <= set(chosen)


def hierarchy(objects, registers, grid, planes=()):
    """What an object layer and the output layer of an encoder look at."""
    layers = torch.tensor([objects, registers]).T[None]
    features = torch.zeros(1, len(objects), 2)
    view = EncoderView(layers[..., 1], features, False, layers)
    places = torch.rand(len(objects), 2)
    return VisualTokens(features, places, grid, (0,), encoder=view, planes=planes)


def test_hiprune_keeps_anchors_their_neighbours_and_registers():
    """3 x 4 cells: 5 of 8 tokens for objects are one anchor, cell 5, and 1, 4, 6, 9 around it.

    The registers are 11, 10 and 8: the output layer prefers high numbers. An anchor in a corner has
    two neighbours, 1 and 4 around 0, and two registers more.
    """
    registers = [float(i) for i in range(12)]
    middle = [0.0] * 5 + [1.0] + [0.0] * 6
    method = METHODS["hiprune"](8, objects=0.625)
    kept = method.select(hierarchy(middle, registers, (3, 4)), 8)
    assert kept.tolist() == [[1, 4, 5, 6, 8, 9, 10, 11]]
    corner = [1.0] + [0.0] * 11
    kept = method.select(hierarchy(corner, registers, (3, 4)), 8)
    assert kept.tolist() == [[0, 1, 4, 7, 8, 9, 10, 11]]
    few = METHODS["hiprune"](2).select(hierarchy(middle, registers, (3, 4)), 2)
    # An anchor, and the first of the four neighbours that the object layer does not tell apart.
    assert few.tolist() == [[1, 5]]


def test_hiprune_looks_for_neighbours_on_the_plane_of_the_anchor():
    """Two frames of 2 x 3, and a 2 x 2 thumbnail before a 2 x 4 picture."""
    registers = [float(i) for i in range(12)]
    third = [0.0] * 3 + [1.0] + [0.0] * 8
    method = METHODS["hiprune"](6, objects=0.9)
    kept = method.select(hierarchy(third, registers, (2, 2, 3)), 6)
    assert kept.tolist() == [[0, 3, 4, 9, 10, 11]]
    kept = method.select(hierarchy(third, registers, (2, 4), ((2, 2), (2, 4))), 6)
    assert kept.tolist() == [[1, 2, 3, 9, 10, 11]]


def sieved(visual, text, keep, queries=None):
    visual, text = torch.tensor(visual), torch.tensor(text)
    return InstructionAttention(
        layer=1,
        keep=keep,
        queries=torch.zeros(1, 1, len(text), 2) if queries is None else queries,
        counts=[len(text)],
        keys=visual[None, None],
        kept=torch.arange(len(visual))[None],
        scale=1.0,
        text_keys=text[None, None],
        log_total=lambda: torch.full((1, 1, len(text)), math.log(10)),
    )


def test_sieve_keeps_what_the_text_cannot_say():
    """Text (1, 0) and (-1, 0): T T' has eigenvalues 2 and 0, lambda = 2, so half of x is left over.

    Residuals (1, 0), (0, 1), (0, 2), (0.5, 1); squared ratios 0.25, 1, 1, 0.625. 1 is first; 2 has
    its direction and loses all, 3 keeps 0.2 of 0.625. 0 (0.25) is next, then 3.
    """
    visual = [[2.0, 0.0], [0.0, 1.0], [0.0, 2.0], [1.0, 1.0]]
    seen = sieved(visual, [[1.0, 0.0], [-1.0, 0.0]], keep=3)
    scores = METHODS["sieve"](3).score(seen)[0]
    assert scores.sort(descending=True).indices.tolist()[:3] == [1, 0, 3]
    assert float(scores[2]) == float(scores.min())


def test_sieve_measures_from_the_mean_of_the_text():
    """Adding the same vector to everything changes nothing."""
    visual, text = torch.randn(9, 2), torch.randn(4, 2)
    moved = torch.tensor([3.0, -5.0])
    one = METHODS["sieve"](4).score(sieved(visual.tolist(), text.tolist(), 4))
    two = METHODS["sieve"](4).score(sieved((visual + moved).tolist(), (text + moved).tolist(), 4))
    assert torch.equal(one, two)


def test_sieve_listens_to_the_heads_that_look_at_the_picture():
    """Head 0 gives the picture 0.3 and prefers token 0; head 1 gives it 0.6 and prefers token 2."""
    seen = attention(
        [[[math.log(2), 0.0, math.log(1e-6)], [0.0, 0.0, math.log(4)]]],
        [[10.0, 10.0]],
        keep=1,
        text_keys=torch.zeros(1, 2, 1, 1),
    )
    assert best(METHODS["sieve"](1, heads=0.5).score(seen), 1) == [2]


@pytest.mark.parametrize("relevance", [0.0, 1.0, 4.0])
def test_dive_discounts_what_is_explained(relevance):
    """Against the definition, on the residuals themselves."""
    seen = only(picture(seed=5), 1)
    residual = F.normalize(seen.features[0].double(), dim=-1)
    residual = residual - residual.mean(0)
    prompt, wanted = F.normalize(seen.text[0].double(), dim=-1), []
    for _ in range(9):
        norm = residual.norm(dim=-1)
        towards = (residual @ prompt.T / norm[:, None]).amax(-1).clamp_min(0)
        score = norm**2 * (1 + relevance * towards)
        score[wanted] = -1
        wanted.append(int(score.argmax()))
        u = residual[wanted[-1]] / norm[wanted[-1]]
        residual = residual - (residual @ u).clamp_min(0)[:, None] * u
        prompt = prompt - (prompt @ u).clamp_min(0)[:, None] * u
    assert METHODS["dive"](9, relevance=relevance).select(seen, 9)[0].tolist() == wanted


def test_vidcom2_gives_an_unusual_frame_more():
    """Three frames of four tokens, the last unlike the others: shares 2/3, 2/3, 5/3 of six.

    Seats: 5/3, 5/9, 1/3, 5/21 against 2/3, 2/9: all four of it, one of each other frame, where
    tokens 1 and 6 are the odd ones out.
    """
    angles = (0, 20, 0, 0, 0, 0, 20, 0, 180, 181, 182, 183)
    features = circle(*angles)
    seen = VisualTokens(features, cell_centres(2, 2).repeat(3, 1), (3, 2, 2), (0,))
    chosen = METHODS["vidcom2"](6).select(seen, 6)
    assert chosen.tolist() == [[1, 6, 8, 9, 10, 11]]


def test_downsampling_is_the_mean_of_blocks():
    features = torch.randn(2, 48, 3, generator=torch.Generator().manual_seed(1))
    seen, method = tokens(features, grid=(6, 8)), METHODS["downsampling"](12)
    chosen = method.select(seen, 12)
    rows, columns = (1, 3, 5), (1, 3, 5, 7)
    assert chosen.tolist() == [[8 * y + x for y in rows for x in columns]] * 2
    pooled = F.avg_pool2d(features.transpose(1, 2).unflatten(2, (6, 8)), 2)
    merged = method.merge(features, chosen, seen)
    assert torch.allclose(merged, pooled.flatten(2).transpose(1, 2), atol=1e-6)


def test_downsampling_weighs_by_area():
    """Three cells into two: the middle one belongs half to each."""
    features = torch.tensor([[[3.0], [6.0], [9.0]]])
    seen, method = tokens(features), METHODS["downsampling"](2)
    chosen = method.select(seen, 2)
    assert chosen.tolist() == [[0, 2]]
    assert method.merge(features, chosen, seen)[0, :, 0].tolist() == pytest.approx([4.0, 8.0])


@pytest.mark.parametrize("grid", [(4, 4), (3, 7), (7, 3), (1, 9), (9, 1), (5, 12)])
def test_downsampling_spends_any_budget(grid):
    """Distinct tokens in order; rectangles tile the picture, so that its mean is kept."""
    height, width = grid
    features = torch.randn(1, height * width, 2, generator=torch.Generator().manual_seed(2))
    for keep in range(1, height * width + 1):
        seen, method = tokens(features, grid=grid), METHODS["downsampling"](keep)
        chosen = method.select(seen, keep)[0].tolist()
        assert chosen == sorted(set(chosen))
        assert len(chosen) == keep
        merged = method.merge(features, torch.tensor([chosen]), seen)
        assert merged.shape == (1, keep, 2)
    assert torch.allclose(merged, features, atol=1e-6)
    whole = METHODS["downsampling"](1).merge(features, torch.tensor([[0]]), seen)
    assert torch.allclose(whole[:, 0], features.mean(1), atol=1e-5)


def test_downsampling_shrinks_every_plane():
    """A thumbnail of four tokens before a picture of sixteen; then three frames of four."""
    features = torch.arange(20.0).view(1, 20, 1)
    seen = VisualTokens(features, torch.rand(20, 2), (4, 4), (0,), planes=((2, 2), (4, 4)))
    method = METHODS["downsampling"](5)
    chosen = method.select(seen, 5)
    assert chosen.tolist() == [[3, 9, 11, 17, 19]]
    merged = method.merge(features, chosen, seen)[0, :, 0]
    assert merged.tolist() == pytest.approx([1.5, 6.5, 8.5, 14.5, 16.5])
    video = VisualTokens(features[:, :12], torch.rand(12, 3), (3, 2, 2), (0,))
    chosen = METHODS["downsampling"](3).select(video, 3)
    merged = METHODS["downsampling"](3).merge(features[:, :12], chosen, video)[0, :, 0]
    assert merged.tolist() == pytest.approx([1.5, 5.5, 9.5])
    lost = VisualTokens(features, torch.rand(20, 2), (4, 4), (0,))
    with pytest.raises(InvalidArgumentError, match="planes must hold the image's 20 visual tokens"):
        METHODS["downsampling"](5).select(lost, 5)


@pytest.mark.parametrize("name", BEFORE)
@pytest.mark.parametrize("grid", [(5, 6), (3, 2, 5)])
def test_every_image_of_a_batch_is_chosen_for_alone(name, grid):
    seen = picture(images=3, grid=grid)
    for keep in (1, 2, 7, 29):
        method = METHODS[name](keep)
        chosen = method.select(seen, keep)
        assert chosen.shape == (3, keep)
        for image in range(3):
            assert len(set(chosen[image].tolist())) == keep
            assert torch.equal(method.select(only(seen, image), keep)[0], chosen[image])


@pytest.mark.parametrize("name", ORDERLESS)
def test_the_order_of_tokens_does_not_matter(name):
    seen = picture()
    moved = torch.randperm(30, generator=torch.Generator().manual_seed(8))
    received = seen.encoder.received[:, moved]
    other = VisualTokens(
        seen.features[:, moved],
        seen.positions[moved],
        seen.grid,
        seen.images,
        seen.text,
        seen.text_counts,
        EncoderView(received, seen.encoder.keys[:, moved], True),
    )
    first, second = METHODS[name](11).select(seen, 11), METHODS[name](11).select(other, 11)
    assert torch.equal(first, moved[second])


@pytest.mark.parametrize("name", BEFORE)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_constant_features(name, dtype):
    seen = picture(dtype=dtype)
    wide = VisualTokens(
        seen.features.float(),
        seen.positions,
        seen.grid,
        seen.images,
        seen.text.float(),
        seen.text_counts,
        seen.encoder,
    )
    method = METHODS[name](8)
    assert torch.equal(method.select(seen, 8), method.select(wide, 8))
    for value in (0.0, 1.0):
        features = torch.full((2, 30, 12), value, dtype=dtype)
        even = torch.full((2, 30), 1 / 30)
        view = EncoderView(even, features, True, torch.stack((even, even), -1))
        flat = VisualTokens(features, seen.positions, (5, 6), (0, 1), None, [], view)
        chosen = method.select(flat, 8).sort(-1).values
        assert all(len(set(row)) == 8 for row in chosen.tolist())
        if method.merges:
            assert method.merge(features, chosen, flat).isfinite().all()


@pytest.mark.parametrize("name", BEFORE)
def test_weights_may_want_a_gradient(name):
    seen = picture()
    plain = METHODS[name](9).select(seen, 9)
    seen.features.requires_grad_()
    assert torch.equal(METHODS[name](9).select(seen, 9), plain)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_sieve_scores_are_an_order(dtype):
    """Grouped heads, padded text, more tokens kept than directions exist; then constant keys."""
    random = torch.Generator().manual_seed(9)
    queries = torch.randn(2, 4, 5, 3, generator=random).to(dtype)
    text = torch.randn(2, 2, 5, 3, generator=random).to(dtype)
    for keys in (torch.randn(2, 2, 40, 3, generator=random).to(dtype), text.new_ones(2, 2, 40, 3)):
        seen = InstructionAttention(
            layer=1,
            keep=35,
            queries=queries,
            counts=[5, 1],
            keys=keys,
            kept=torch.arange(40).expand(2, -1),
            scale=0.5,
            text_keys=text,
            log_total=lambda: torch.full((2, 4, 5), 6.0),
        )
        scores = METHODS["sieve"](35).score(seen)
        for row in scores.tolist():
            assert sorted(row, reverse=True) == [float(-i) for i in range(35)] + [-40.0] * 5


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("scope", {"alpha": -1.0}, r"alpha must be in \[0, 10\], got -1.0"),
        ("mmr", {"importance": 1.5}, r"importance must be in \[0, 1\], got 1.5"),
        ("hiprune", {"objects": 0.0}, r"objects must be in \(0, 1\], got 0.0"),
        ("hiprune", {"object_layer": 1.5}, r"object_layer must be in \(0, 1\], got 1.5"),
        ("holov", {"crops": 0}, "crops must be an int >= 1, got 0"),
        ("holov", {"variance": -0.1}, r"variance must be in \[0, 100\], got -0.1"),
        ("holov", {"power": math.nan}, "power must be in"),
        ("sieve", {"energy": 0.0}, r"energy must be in \(0, 1\], got 0.0"),
        ("sieve", {"heads": 2.0}, r"heads must be in \(0, 1\], got 2.0"),
        ("sieve", {"layer": -1}, "layer must be None or an int >= 0"),
        ("dive", {"relevance": -1.0}, r"relevance must be in \[0, 100\], got -1.0"),
        ("vidcom2", {"temperature": 0.0}, "temperature must be in"),
    ],
)
def test_settings_are_checked_when_built(name, options, match):
    with pytest.raises(InvalidArgumentError, match=match):
        METHODS[name](8, **options)
