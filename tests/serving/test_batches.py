"""An encoder's batch in parts no larger than an unpruned server's."""

import torch

from stsprune.serving.batches import part, spans


def test_spans_hold_no_more_than_the_limit():
    lengths = [30, 30, 30, 90, 10, 50, 50, 1]
    found = spans(lengths, 100)
    assert found == [(0, 3), (3, 5), (5, 7), (7, 8)]
    assert all(sum(lengths[a:b]) <= 100 for a, b in found)
    assert spans([500, 3, 500], 100) == [(0, 1), (1, 2), (2, 3)]
    assert spans([], 100) == []


def test_parts_of_what_is_flat_and_what_is_not():
    kwargs = {
        "pixel_values": torch.arange(9),
        "image_grid_thw": torch.arange(9).reshape(3, 3),
        "image_token_id": torch.tensor(7),
        "names": ["a", "b", "c"],
    }
    sizes = {"pixel_values": [2, 3, 4]}
    found = part(kwargs, (1, 3), sizes)
    assert found["pixel_values"].tolist() == [2, 3, 4, 5, 6, 7, 8]
    assert found["image_grid_thw"].tolist() == [[3, 4, 5], [6, 7, 8]]
    assert found["image_token_id"] == 7
    assert found["names"] == ["b", "c"]
    assert part(kwargs, (0, 1), sizes)["pixel_values"].tolist() == [0, 1]
