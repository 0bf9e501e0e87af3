"""Kept patches keep their pixels, dropped ones lose light."""

from __future__ import annotations

import numpy as np
import pytest

from stsprune.errors import InvalidArgumentError
from stsprune.viz import check_target, dim_dropped, save_stages

IMAGE = np.random.default_rng(0).integers(60, 255, (24, 36, 3), dtype=np.uint8)


def cells(pixels: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Mean light of each grid cell's middle, away from the outline."""
    high, wide = pixels.shape[0] // rows, pixels.shape[1] // columns
    blocks = pixels.reshape(rows, high, columns, wide, 3)
    return blocks[:, high // 4 : -high // 4, :, wide // 4 : -wide // 4].mean((1, 3, 4))


def test_dropped_patches_are_dimmed_and_kept_ones_are_not():
    full = cells(dim_dropped(IMAGE, range(6), (2, 3)), 2, 3)
    some = cells(dim_dropped(IMAGE, [0, 5], (2, 3)), 2, 3)
    bright = np.isclose(some, full, rtol=0.02)
    assert bright.tolist() == [[True, False, False], [False, False, True]]
    assert (some[~bright] < 0.5 * full[~bright]).all()


def test_nothing_dropped_draws_no_outline():
    assert not (dim_dropped(np.zeros_like(IMAGE), range(6), (2, 3)) == 255).any()
    assert (dim_dropped(np.zeros_like(IMAGE), [0], (2, 3)) == 255).any()


def test_nothing_kept_is_dark_everywhere():
    assert dim_dropped(IMAGE, [], (2, 3)).max() < 100


@pytest.mark.parametrize(
    ("image", "kept", "message"),
    [
        (IMAGE.astype(float), [0], "image must be uint8"),
        (IMAGE[..., 0], [0], "image must be uint8"),
        (IMAGE, [6], r"kept must hold indices in 0\.\.5"),
        (IMAGE, [-1], "kept must hold indices"),
    ],
)
def test_bad_input(image, kept, message):
    with pytest.raises(InvalidArgumentError, match=message):
        dim_dropped(image, kept, (2, 3))


def test_figure_has_a_panel_for_each_stage(tmp_path):
    from PIL import Image

    stages = [("structure", [0, 1, 5]), ("semantics", [1])]
    save_stages(tmp_path / "new" / "a.png", IMAGE, stages, (2, 3), title="q?", subtitle="a")
    save_stages(tmp_path / "b.png", IMAGE, stages[:1], (2, 3), title="q?", subtitle="a")
    three, two = (Image.open(tmp_path / name).width for name in ("new/a.png", "b.png"))
    assert three > 1.3 * two


@pytest.mark.parametrize("name", ["picture", "picture.txt", "."])
def test_targets_that_are_no_picture(tmp_path, name):
    with pytest.raises(InvalidArgumentError, match="picture must be a file that ends in"):
        check_target(tmp_path / name)


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InvalidArgumentError, match=r"picture .*file"):
        save_stages(tmp_path / "file" / "a.png", IMAGE, [], (2, 3))
