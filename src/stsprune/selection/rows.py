"""Rows of one image's table of potentials, made when they are needed."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from .distance import ALIKE, SPLIT, cuts, kernel, leave_format, mix, place, scaled, weights

#: Most entries of a block of rows: 4 MB in float32 stay in a CPU's cache. GPUs want larger ones.
ENTRIES, GPU_ENTRIES = 2**20, 2**24


class Rows:
    """What `potentials` would hold for one image, a few rows at a time.

    Same operations in the same order as there, so that on a CPU entries are equal to the last bit
    wherever the matrix product rounds alike at all shapes of `ALIKE` rows or more (MKL does, tests
    hold it); else they are equal up to rounding, as all are on a GPU.

    features: [N, Dim]; positions: [N, 2] or [N, 3]; settings as in `repulsion`. Holds O(N) values
    beside the features, and a float32 copy of features that the CPU cannot multiply as they are.
    """

    def __init__(
        self, features: Tensor, positions: Tensor, space: float, exponent: float, eps: float
    ) -> None:
        dtype = torch.promote_types(features.dtype, torch.float32)
        self.tokens = len(features)
        where = positions.to(device=features.device, dtype=dtype, non_blocking=True)
        self.where = where.T.contiguous().T  # an axis at a time is read
        self.space, self.exponent, self.offset = space, exponent, eps * eps
        self.phi, self.logarithm = kernel(features, exponent, eps)
        self.entries = ENTRIES if features.device.type == "cpu" else GPU_ENTRIES
        whole = features.device.type != "cpu" or self.tokens < SPLIT
        #: The table's blocks: left of its own block, a row is a mirrored column.
        self.cuts = [(0, self.tokens)] if whole else cuts(self.tokens)
        self.points = scaled(features) if whole else features.to(dtype)
        squares = self._squares()
        if not whole and leave_format(squares):
            self.points = scaled(features)
            squares = self._squares()
        self.left, self.right, self.own = weights(squares, space)
        self.scratch: Tensor | None = None

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        """(number of the first row, rows [R, N]) of the whole table, from the top.

        Each is gone when the next one is asked for: fresh memory would cost more than the product.
        """
        step = max(ALIKE, self.entries // self.tokens)
        memory = self.own.new_empty(step, self.tokens)
        for start, stop in self.cuts:
            for begin in range(start, stop, step):
                end = min(begin + step, stop)
                first = max(0, min(begin, end - ALIKE))
                gram = self.product(slice(first, end), memory[: end - first])[begin - first :]
                yield begin, self.finish(gram, slice(begin, end), start)

    def product(self, index: slice | Tensor, out: Tensor | None = None) -> Tensor:
        """The Gram product's rows [R, N]; R >= `ALIKE` for rounding as in the table."""
        return _product(self.points[index], self.points.T, out)

    def finish(self, gram: Tensor, index: slice | Tensor, start: int) -> Tensor:
        """Rows of the Gram product become potentials, in place.

        index: the R rows, all of the table's block that begins at `start`.
        """
        left, right, own = self.left[index], self.right[index], self.own[index]
        if self.scratch is None or len(gram) > self.scratch.shape[1]:
            self.scratch = torch.stack((gram, gram))
        scratch = self.scratch[:, : len(gram)]
        apart = place(self.where[index], self.where, self.space, self.offset, scratch)
        if start:
            mirror = (self.left[:start], self.own[:start])
            mix(gram[:, :start].T, mirror, (right, own), apart[:, :start].T)
        theirs = (self.right[start:], self.own[start:])
        mix(gram[:, start:], (left, own), theirs, apart[:, start:])
        return self.phi(gram)

    def piece(self, index: Tensor, begin: int, end: int) -> Tensor:
        """Potentials of any rows [R] at the columns from `begin` to `end`: [R, end - begin]."""
        count = len(index)
        padded = index.repeat(-(-ALIKE // count)) if count < ALIKE else index
        gram = _product(self.points[padded], self.points[begin:end].T)[:count]
        ours = [values[index, None] for values in (self.left, self.right, self.own)]
        theirs = [values[None, begin:end] for values in (self.left, self.right, self.own)]
        column = torch.arange(begin, end, device=index.device)
        below = column < self._start(index)[:, None]  # in the table, a mirrored column
        gram.mul_(torch.where(below, theirs[0], ours[0]))
        gram.mul_(torch.where(below, ours[1], theirs[1]))
        gram.add_(torch.where(below, theirs[2], ours[2]))
        gram.add_(torch.where(below, ours[2], theirs[2])).clamp_min_(0)
        where = self.where[begin:end]
        return self.phi(gram.add_(place(self.where[index], where, self.space, self.offset)))

    def _start(self, index: Tensor) -> Tensor:
        """Where the table's block of each row begins: [R]; `cuts` makes all but the last alike."""
        size = self.cuts[0][1]
        return (index // size).clamp_max(len(self.cuts) - 1) * size

    def _squares(self) -> Tensor:
        """The Gram product's diagonal [N]."""
        step = max(ALIKE, min(self.tokens, int(self.entries**0.5)))
        if self.points.device.type == "cpu":
            parts = self.cuts
        else:
            parts = [(i, min(i + step, self.tokens)) for i in range(0, self.tokens, step)]
        points = self.points
        squares = [_product(points[a:b], points[a:b].T).diagonal() for a, b in parts]
        return torch.cat(squares)


def _product(points: Tensor, other: Tensor, out: Tensor | None = None) -> Tensor:
    if points.dtype in (torch.float16, torch.bfloat16):
        return torch.mm(points, other, out_dtype=torch.float32)
    return torch.mm(points, other, out=out)
