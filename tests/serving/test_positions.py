"""Rotary positions of pruned prompts, and the prompts themselves."""

import torch
from waits import Waits

from stsprune.serving.positions import Gap, delta, marked, resolve, stretch
from stsprune.serving.prompt import without

IMAGE = 9
#: Two images of 6 and 4 tokens, side by side, pruned to 2 and 3; text before and behind.
PROMPT = [1, 2, *[IMAGE] * 2, *[IMAGE] * 3, 3, 4]
GAPS = [Gap(2, 2, 6), Gap(4, 3, 4)]
OFFSETS = torch.tensor([1, 4, 0, 2, 3])[:, None].expand(-1, 3)
PLACES = torch.arange(2, 7)


def at(places, length=9):
    """The places as a mask."""
    return torch.zeros(length, dtype=torch.bool).index_fill(0, torch.as_tensor(places), True)


def unresolved():
    whole, index = stretch(PROMPT, GAPS)
    assert whole == [1, 2, *[IMAGE] * 10, 3, 4]
    return marked(torch.arange(len(whole)).expand(3, -1), index, GAPS)


def test_text_is_final_before_the_encoder_runs():
    positions, step = unresolved()
    assert positions[0, [0, 1, 7, 8]].tolist() == [0, 1, 12, 13]
    assert (positions[:, 2:7] < 0).all()
    assert step == 14 - 9 == delta(positions)


def test_kept_tokens_get_their_original_positions():
    positions = resolve(unresolved()[0], at(PLACES), OFFSETS)
    assert positions.tolist() == [[0, 1, 3, 6, 8, 10, 11, 12, 13]] * 3


def test_chunks_and_starting_again_give_the_same():
    whole = resolve(unresolved()[0], at(PLACES), OFFSETS)
    first = resolve(unresolved()[0], at(PLACES), OFFSETS[:3])
    assert (first[:, 5:7] < 0).all()
    both = resolve(first, at(PLACES[3:]), OFFSETS[3:])
    assert torch.equal(both, whole)
    assert torch.equal(resolve(both, at(PLACES), OFFSETS), whole)


def test_three_axes():
    """A grid of 2 x 3 behind one token: what follows stands behind its larger side."""
    rows, columns = torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0, 1, 2, 0, 1, 2])
    grid = torch.stack([torch.zeros(6, dtype=torch.long), rows, columns]) + 1
    one = torch.tensor([[0], [0], [0]])
    full = torch.cat([one, grid, one + 4, one + 5], 1)
    whole, index = stretch([1, IMAGE, IMAGE, 2, 3], [Gap(1, 2, 6)])
    assert len(whole) == 9
    positions, step = marked(full, index, [Gap(1, 2, 6)])
    kept = torch.tensor([2, 3])
    positions = resolve(positions, at([1, 2], 5), (grid[:, kept] - 1).T)
    assert torch.equal(positions, full[:, [0, 3, 4, 7, 8]])
    assert step == delta(positions) == 6 - 5


def test_prompt_without_images():
    whole, index = stretch([1, 2, 3], [])
    assert whole == [1, 2, 3]
    assert marked(torch.arange(3).expand(3, -1), index, [])[1] == 0


def test_placeholders_are_taken_from_the_end():
    assert without([7, IMAGE, IMAGE, IMAGE, 8], IMAGE, 2) == [7, IMAGE, 8]
    assert without([7, IMAGE, 8, IMAGE], IMAGE, 0) == [7, IMAGE, 8, IMAGE]


def test_rows_of_videos_take_places_too():
    """A model whose videos use the image's token: two final rows before the image's."""
    positions, _ = unresolved()
    positions[:, 2:4] = torch.tensor([2, 3])
    offsets = torch.cat([torch.full((2, 3), -1), OFFSETS[2:]])
    found = resolve(positions, at(PLACES), offsets)
    assert found[0].tolist() == [0, 1, 2, 3, 8, 10, 11, 12, 13]


def test_resolving_waits_for_nothing():
    positions, _ = unresolved()
    with Waits():
        resolve(positions, at(PLACES), OFFSETS)
