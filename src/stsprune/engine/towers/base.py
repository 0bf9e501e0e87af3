"""What is known of a vision tower: its layers, and how its patches become visual tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from stsprune.errors import UnsupportedModelError

if TYPE_CHECKING:
    from .mosaic import Mosaic

#: (frames, rows, columns) of a picture's visual tokens; one frame unless it is a video.
Grid = tuple[int, int, int]


@dataclass(frozen=True)
class Order:
    """How a picture's patches lie in the tower's sequence.

    merge: (rows, columns) of patches that become one visual token; grouped: whether these stand
    side by side, else patches are row-major over the picture; window: side in visual tokens of the
    windows in whose order the tokens stand, None = row-major; prefix: class and register tokens
    before the patches.
    """

    merge: tuple[int, int] = (1, 1)
    grouped: bool = False
    window: int | None = None
    prefix: int = 0

    @property
    def unit(self) -> int:
        """Patches per visual token."""
        return self.merge[0] * self.merge[1]

    def patches(self, grid: Grid) -> int:
        """Patches of a picture."""
        return grid[0] * grid[1] * grid[2] * self.unit

    def places(self, grid: Grid) -> Tensor:
        """int64 [N, unit]: where each visual token's patches are, the prefix not counted."""
        return _places(self, grid)


@dataclass(frozen=True)
class Refill:
    """A module at which dropped rows come back as zeros, so that what follows finds its shapes.

    before: in its input (a projector that pools over the picture), else in its output, so that
    the module itself works on the kept rows alone; unit: patches per row there; prefix: whether
    class and register tokens are among the rows; after: the layer behind which it reads, None =
    the last one that counts (deepstack reads earlier).
    """

    module: Any
    before: bool = False
    unit: int = 1
    prefix: bool = False
    after: int | None = None


@dataclass(frozen=True)
class Tower:
    """A vision tower of a model.

    blocks: its layers, of which `used` count for the visual tokens; attentions: theirs; order: of
    the patches; packed: whether all pictures lie in one sequence [P, Dim] or [1, P, Dim], else
    [pictures, P, Dim]; tiled: whether an image may be several pictures here; pictures: grids of
    those of a call (modality, the encoder's arguments), None where each row is one of `grid`;
    refills: where dropped rows come back; full: the layers whose attention sees a whole frame
    where the others see windows, None = all; mosaics: how the pictures of each image of a call
    become its visual tokens, where that is more than one behind the other.
    """

    blocks: Any
    attentions: tuple[Any, ...]
    used: int
    order: Order
    refills: tuple[Refill, ...]
    packed: bool = False
    tiled: bool = False
    grid: Grid | None = None
    pictures: Callable[[str, Mapping[str, Any]], list[Grid]] | None = None
    full: tuple[int, ...] | None = None
    mosaics: Callable[[str, Mapping[str, Any]], Sequence[Mosaic]] | None = None

    def grids(self, modality: str, arguments: Mapping[str, Any], rows: int) -> list[Grid]:
        """The pictures' shapes in visual tokens; rows: of the first hidden state."""
        if self.pictures is not None:
            return self.pictures(modality, arguments)
        assert self.grid is not None
        return [self.grid] * rows


@lru_cache(maxsize=256)
def _places(order: Order, grid: Grid) -> Tensor:
    frames, rows, columns = grid
    high, wide = order.merge
    tokens = torch.arange(frames * rows * columns).view(frames, rows, columns)
    if order.grouped:
        rank = tokens if order.window is None else _windowed(tokens, order.window)
        return rank.flatten()[:, None] * order.unit + torch.arange(order.unit)
    frame, token = tokens // (rows * columns), tokens % (rows * columns)
    y, x = token // columns, token % columns
    top = (frame * rows + y) * high * columns * wide + x * wide
    inside = torch.arange(high)[:, None] * columns * wide + torch.arange(wide)
    return top.flatten()[:, None] + inside.flatten()


def _windowed(tokens: Tensor, side: int) -> Tensor:
    """The rank of every token of [frames, rows, columns] where windows stand one after another."""
    frames, rows, columns = tokens.shape
    frame = torch.arange(frames)[:, None, None]
    y, x = torch.arange(rows)[:, None], torch.arange(columns)
    across = -(-columns // side)
    window = frame * -(-rows // side) * across + y // side * across + x // side
    order = (window * tokens.numel() + tokens).flatten().argsort()
    return torch.empty_like(order).scatter_(0, order, torch.arange(len(order))).view_as(tokens)


def check_layers(chosen: Any, layers: int) -> int:
    """How many of a tower's layers count where features are taken at `chosen`, as configs say it.

    Raises UnsupportedModelError where they are taken before the first one.
    """
    taken = [chosen] if isinstance(chosen, int) else list(chosen)
    used = min(layers + 1 + at if at < 0 else at for at in taken)
    if used < 1:
        raise UnsupportedModelError(
            f"encoder must be None: the model takes its features at layer {chosen}"
        )
    return used
