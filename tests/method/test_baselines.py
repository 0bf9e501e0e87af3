"""Each baseline against an example worked out by hand from its paper's definition."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

import stsprune
from stsprune.errors import InvalidArgumentError
from stsprune.method import InstructionAttention, VisualTokens
from stsprune.method.base import EncoderView, Plan
from stsprune.selection import cell_centres, repulsion

METHODS = stsprune.methods()


def circle(*degrees):
    """Unit features at these angles: [1, N, 2]."""
    angle = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angle.cos(), angle.sin()], -1).float()[None]


def tokens(features, received=None, keys=None, grid=None, text=None):
    count = features.shape[1]
    encoder = None
    if received is not None:
        keys = features if keys is None else keys
        encoder = EncoderView(torch.tensor([received]), keys, True)
    grid = grid or (1, count)
    counts = [] if text is None else [text.shape[1]]
    return VisualTokens(
        features, cell_centres(*grid), grid, (0,), text=text, text_counts=counts, encoder=encoder
    )


def attention(logits, total, keep=2, **more):
    """One image; logits [T][heads][N] of text to visual tokens, total [T][heads] = sum of exp."""
    logits, total = torch.tensor(logits), torch.tensor(total)
    length, heads, count = logits.shape
    # Width T: query t reads its own column of the keys.
    queries = torch.eye(length).expand(1, heads, length, length)
    keys = logits.permute(1, 2, 0)[None]
    return InstructionAttention(
        layer=1,
        keep=keep,
        queries=queries,
        counts=[length],
        keys=keys,
        kept=torch.arange(count)[None],
        scale=1.0,
        log_total=lambda: total.T.log()[None],
        positions=cell_centres(1, count),
        **more,
    )


def best(scores, keep):
    return scores.topk(keep).indices[0].sort().values.tolist()


def test_grid_is_a_lattice():
    picture = tokens(torch.randn(1, 16, 2), grid=(4, 4))
    assert METHODS["grid"](4).select(picture, 4).tolist() == [[5, 7, 13, 15]]
    wide = tokens(torch.randn(1, 32, 2), grid=(4, 8))
    assert METHODS["grid"](8).select(wide, 8).tolist() == [[9, 11, 13, 15, 25, 27, 29, 31]]


@pytest.mark.parametrize("keep", range(1, 21))
def test_grid_keeps_what_it_is_asked_for(keep):
    chosen = METHODS["grid"](keep).select(tokens(torch.randn(1, 20, 2), grid=(4, 5)), keep)
    assert len(set(chosen[0].tolist())) == keep


def test_random_is_uniform():
    picture, drawn = tokens(torch.randn(1, 10, 2)), torch.zeros(10)
    for seed in range(600):
        drawn[METHODS["random"](3, seed=seed).select(picture, 3)] += 1
    assert drawn.sum() == 1800
    assert (drawn / 600 - 0.3).abs().max() < 4 * math.sqrt(0.3 * 0.7 / 600)


def test_fastv_is_the_last_tokens_attention_over_everything():
    """Softmax over visual and text keys: exp 1, 2, 3 of a total of 10 in one head, 1 of 4 each."""
    seen = attention(
        [[[9.0, 0, 0], [0, 0, 9.0]], [[math.log(1), math.log(2), math.log(3)], [0.0, 0, 0]]],
        [[1.0, 1.0], [10.0, 4.0]],
    )
    scores = METHODS["fastv"](2).score(seen)[0]
    assert scores.tolist() == pytest.approx([0.175, 0.225, 0.275])


def test_fastv_prunes_behind_the_second_layer():
    """K = 2 of 32: two layers see all; half of 576 there is 279 on average behind them."""
    assert METHODS["fastv"](306).plan(576, 32).semantics == ((1, 288),)


def test_pyramiddrop_halves_at_every_quarter():
    """Published: 576, 288, 144, 72 tokens in eight layers each, 270 on average."""
    plan = METHODS["pyramiddrop"](270).plan(576, 32)
    assert plan.structure is None
    assert plan.semantics == ((7, 288), (15, 144), (23, 72))


def test_sparsevlm_asks_the_raters_only():
    """Features match text token 0 alone, so that its attention decides, whatever the other says."""
    features = torch.tensor([[[1.0, 0], [2, 0], [1, 0], [1, 0]]])
    text = torch.tensor([[[4.0, 0], [0, 0]]])
    seen = attention(
        [[[0.0, 1, 2, 3]], [[9.0, 9, 0, 0]]], [[100.0], [1e5]], features=features, text=text
    )
    method = METHODS["sparsevlm"](2, recycle=False)
    assert best(method.score(seen), 2) == [2, 3]


def test_sparsevlm_counts_follow_the_published_ones():
    plan = METHODS["sparsevlm"](188.2 / 576).plan(576, 32)
    assert [layer for layer, _ in plan.semantics] == [1, 5, 14]  # 2, 6, 15 counted from 1
    counts = [count for _, count in plan.semantics]
    assert counts == pytest.approx([300, 200, 110], abs=1)


def test_visionzip_merges_context_into_every_nth_token():
    """Token 4 dominates; of 0 1 2 3 5 every second one up to two is a target: 0 and 2."""
    features = torch.tensor([[[1.0, 0], [3, 0], [0, 2], [0, 4], [9, 9], [0, 6]]])
    keys = circle(0, 10, 90, 80, 45, 100)
    picture = tokens(features, [0.1, 0.1, 0.1, 0.1, 0.9, 0.1], keys)
    method = METHODS["visionzip"](3, dominant=1 / 3)
    chosen = method.select(picture, 3).sort(-1).values
    assert chosen.tolist() == [[0, 2, 4]]
    merged = method.merge(features, chosen, picture)
    # 1 joins 0; 3 and 5 join 2.
    assert merged[0].tolist() == [[2.0, 0.0], [0.0, 4.0], [9.0, 9.0]]


def test_vispruner_drops_duplicates_of_the_rest():
    """Token 5 is important; the rest at 0, 2, 90, 180, 182 degrees loses even 0 and 4 first.

    Even places 0, 2, 4 (0, 90, 182 degrees) against odd 1, 3 (2, 180): 0 and 4 are duplicates.
    Left 1, 2, 3 (2, 90, 180): even 1 and 3 against odd 2: 88 and 90 degrees apart from it, so 1
    goes. Of 2 and 3 the even one goes: 3 is left.
    """
    picture = tokens(circle(0, 2, 90, 180, 182, 45), [0.0, 0, 0, 0, 0, 1])
    chosen = METHODS["vispruner"](2).select(picture, 2)
    assert chosen.tolist() == [[5, 3]]


def test_divprune_takes_the_farthest_from_what_is_kept():
    """First 200: its neighbour is 110 degrees away. Then 10 (170 away), then 90 (80 from 10)."""
    picture = tokens(circle(0, 10, 80, 90, 200))
    assert METHODS["divprune"](3).select(picture, 3).tolist() == [[4, 1, 3]]


def test_dart_fills_quotas_with_the_least_similar():
    """Pivots: visual token 0 (norm 5) and text token 1; both take two of the five others."""
    visual = circle(0, 30, 60, 90, 180, 270)
    visual[0, 0] *= 5
    text = torch.tensor([[[0.1, 0], [0, 3.0]]])
    seen = InstructionAttention(
        layer=1,
        keep=5,
        queries=torch.zeros(1, 1, 2, 2),
        counts=[2],
        keys=visual[:, None],
        kept=torch.arange(6)[None],
        scale=1.0,
        text_keys=text[:, None],
    )
    # Pivot 0 takes 180 and then 90 or 270 (cosine 0): the lower place wins a tie up to rounding;
    # the text pivot at 90 degrees takes 270 first where it is left.
    scores = METHODS["dart"](5, pivots=1).score(seen)
    kept = best(scores, 5)
    assert {0, 4, 5} <= set(kept)
    one = METHODS["dart"](2, pivots=1).score(InstructionAttention(**{**vars(seen), "keep": 2}))
    assert best(one, 2) == [0, 4]


def test_cdpruner_maximises_the_determinant_step_by_step():
    random = torch.Generator().manual_seed(3)
    features = torch.randn(1, 7, 9, generator=random)
    text = torch.randn(1, 2, 9, generator=random)
    chosen = METHODS["cdpruner"](4).select(tokens(features, text=text), 4)[0].tolist()
    unit = features[0].double() / features[0].double().norm(dim=-1, keepdim=True)
    words = text[0].double() / text[0].double().norm(dim=-1, keepdim=True)
    relevance = -(unit @ words.T).mean(-1)
    relevance = (relevance - relevance.min()) / (relevance.max() - relevance.min())
    kernel = relevance[:, None] * (unit @ unit.T) * relevance
    wanted = []
    for _ in range(4):
        rest = [i for i in range(7) if i not in wanted]
        gain = {i: float(torch.det(kernel[[*wanted, i]][:, [*wanted, i]])) for i in rest}
        wanted.append(max(gain, key=gain.__getitem__))
    assert chosen == wanted


def test_tome_merges_the_most_similar_pair_of_even_and_odd():
    """0 and 3 are 5 degrees apart, 2 and 1 are 20: one merge puts 0 into 3."""
    features = circle(0, 100, 80, 5)
    picture, method = tokens(features), METHODS["tome"](3)
    chosen = method.select(picture, 3)
    assert chosen.tolist() == [[1, 2, 3]]
    merged = method.merge(features, chosen, picture)
    assert torch.allclose(merged[0, :2], features[0, 1:3])
    assert torch.allclose(merged[0, 2], (features[0, 0] + features[0, 3]) / 2)


def test_tome_weighs_means_by_size():
    """Two rounds: the group of three is the plain mean of its tokens."""
    features = circle(0, 1, 2, 90, 3, 180)
    picture, method = tokens(features), METHODS["tome"](3)
    chosen = method.select(picture, 3)
    merged = method.merge(features, chosen, picture)[0]
    groups = [[0, 1, 2, 4], [3], [5]]
    wanted = [features[0, group].mean(0) for group in groups]
    for one in wanted:
        assert (merged - one).abs().amax(-1).min() < 1e-6


def test_attention_only_is_the_top_of_what_cls_attends_to():
    picture = tokens(circle(0, 1, 2, 3), [0.1, 0.4, 0.2, 0.3])
    assert METHODS["attention-only"](2).select(picture, 2).tolist() == [[1, 3]]


@pytest.mark.parametrize(("name", "space"), [("space=0", 0.0), ("space=1", 1.0)])
def test_space_ablations_change_the_distance_only(name, space):
    features = torch.randn(1, 12, 4, generator=torch.Generator().manual_seed(0))
    picture = tokens(features, grid=(3, 4))
    chosen = METHODS[name](5).select(picture, 5)
    assert torch.equal(chosen, repulsion(features, picture.positions, 5, space=space))
    assert METHODS[name](20).plan(144, 8) == METHODS["sts"](20).plan(144, 8)


def test_single_stages_spend_the_whole_budget():
    assert METHODS["structure-only"](20).plan(144, 8).structure == 20
    plan = METHODS["semantics-only"](32, withdraw=None).plan(144, 8)
    assert plan.structure is None
    assert plan.semantics == ((0, (32 * 8 - 144) // 7),)
    plan = METHODS["semantics-only"](32).plan(144, 8)  # one token in the last two layers
    assert plan.semantics == ((0, (32 * 8 - 144 - 2) // 5), (5, 1))


def test_ablations_of_the_filter_and_the_withdrawal():
    sts = METHODS["sts"](16).plan(144, 8)
    assert sts == Plan(26, ((2, 20), (3, 14), (5, 1)))
    assert METHODS["no-filter"](16).plan(144, 8) == Plan(21, ((5, 1),))
    assert [layer for layer, _ in METHODS["no-withdrawal"](16).plan(144, 8).semantics] == [2, 3]


def test_swapped_spreads_over_what_the_instruction_asks_for():
    """Pool: the four best scored (0, 1, 2, 3); repulsion keeps the two most different of them."""
    features = circle(0, 1, 2, 170, 90, 91)
    seen = attention(
        [[[5.0, 4, 3, 2, 1, 0]]], [[1.0]], keep=2, features=features, text=torch.zeros(1, 1, 2)
    )
    kept = best(METHODS["swapped"](2, space=0.0).score(seen), 2)
    assert 3 in kept
    assert max(kept) == 3


@pytest.mark.parametrize("name", ["fastv", "pyramiddrop", "sparsevlm", "dart", "semantics-only"])
def test_a_budget_below_the_first_layers_is_refused(name):
    with pytest.raises(InvalidArgumentError, match="budget must be at least"):
        METHODS[name](4).plan(144, 8)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(("count", "depth"), [(576, 32), (144, 8), (2880, 28), (30, 6)])
def test_plans_keep_to_the_budget(name, count, depth):
    for share in (0.05, 0.11, 1 / 3, 0.5, 0.9):
        try:
            plan = METHODS[name](share).plan(count, depth)
        except InvalidArgumentError as error:
            if "budget must be at least" in str(error):
                continue
            raise
        held, spent = count if plan.structure is None else plan.structure, 0
        drops = dict(plan.semantics)
        for layer in range(depth):
            spent += held
            held = drops.get(layer, held)
        assert spent <= max(share * count, 1) * depth + 1e-6
        # Little is left unspent: one token in each layer, at most.
        assert spent >= (share * count - 3) * depth
        kept = [count if plan.structure is None else plan.structure, *drops.values()]
        assert all(1 <= b <= a for a, b in itertools.pairwise(kept))
