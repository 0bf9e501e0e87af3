"""The stage inside the encoder: at one layer of the vision tower some patches leave it.

Hooks of one encoding's length on the unmodified tower. From the chosen layer on its hidden states,
rotary tables, masks and window lengths are those of the patches that stay; where the rest of the
model wants all rows back, the dropped ones are zeros that the decoder never reads.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from stsprune.method.base import Plan
from stsprune.method.encoder import EncoderStage
from stsprune.selection.upload import upload

from ..visual import Plane, Visual
from .base import Grid, Tower


@dataclass
class Encoded:
    """What one encoding kept.

    layer: the first tower layer without the others; grids: of its pictures; kept: per picture
    int64 [K], ascending numbers of its visual tokens.
    """

    layer: int
    grids: list[Grid]
    kept: list[Tensor] = field(default_factory=list)


class TowerStage:
    """An `EncoderStage` on a model's tower; plan: a picture's tokens -> the method's counts."""

    def __init__(self, tower: Tower, stage: EncoderStage, plan: Callable[[int], Plan]) -> None:
        self.tower, self.stage, self.plan = tower, stage, plan
        self.layer = stage.layer_of(tower.used)
        self.names = list(inspect.signature(type(tower.blocks[0]).forward).parameters)[1:]

    def keep(self, tokens: int) -> int:
        """Tokens that stay of a picture. Raises InvalidArgumentError."""
        plan = self.plan(tokens)
        if plan == Plan():
            return tokens
        return self.stage.keep(tokens, tokens if plan.structure is None else plan.structure)

    def install(self, undo: ExitStack, modality: str, arguments: Mapping[str, Any]) -> Encoded:
        """Hook the tower for one encoding; `undo` takes the hooks off. What it keeps comes later.

        arguments: the encoder's, by name.
        """
        running = _Running(self, modality, arguments)
        for number, block in enumerate(self.tower.blocks):
            if number >= self.layer:
                hook = functools.partial(running.before, number)
                undo.callback(block.register_forward_pre_hook(hook, with_kwargs=True).remove)
        for refill in self.tower.refills:
            if refill.before:
                hook = functools.partial(running.refill_input, refill)
                handle = refill.module.register_forward_pre_hook(hook)
            else:
                # First, so that whoever else listens sees all rows.
                hook = functools.partial(running.refill_output, refill)
                handle = refill.module.register_forward_hook(hook, prepend=True)
            undo.callback(handle.remove)
        return running.encoded


class _Running:
    """One encoding on its way through the tower."""

    def __init__(self, stage: TowerStage, modality: str, arguments: Mapping[str, Any]) -> None:
        self.stage, self.tower, self.order = stage, stage.tower, stage.tower.order
        self.modality, self.arguments = modality, arguments
        self.encoded = Encoded(stage.layer, [])
        self.index: Tensor | None = None  # [S] of a packed sequence, else [pictures, S]
        self.total = 0  # places of the sequence before the choice
        self._ready: dict[tuple[str, int], tuple[Any, Any]] = {}

    def before(self, number: int, module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        named = dict(zip(self.stage.names, args, strict=False)) | kwargs
        name = self.stage.names[0]
        hidden = named.pop(name)
        if number == self.stage.layer:
            self._choose(hidden)
            hidden = self._taken(hidden)
        if self.index is None:
            return None
        changed = {key: self._fitted(key, value) for key, value in named.items()}
        return (hidden,), changed

    def refill_input(self, refill: Any, module: Any, args: Any) -> Any:
        if self.index is None:
            return None
        return (self._refilled(refill, args[0]), *args[1:])

    def refill_output(self, refill: Any, module: Any, args: Any, output: Tensor) -> Any:
        if self.index is None:
            return None
        return self._refilled(refill, output)

    def _choose(self, hidden: Tensor) -> None:
        """Which tokens stay, and so which places of the sequence."""
        encoded, order, prefix = self.encoded, self.order, self.order.prefix
        self.total = hidden.shape[-2]
        encoded.grids = self.tower.grids(self.modality, self.arguments, hidden.shape[0])
        grids, device = encoded.grids, hidden.device
        starts = [0]
        for grid in grids:
            starts.append(starts[-1] + order.patches(grid))
        kept: list[Tensor] = [torch.empty(0)] * len(grids)
        where: list[Tensor] = [torch.empty(0)] * len(grids)
        counts = {grid: grid[0] * grid[1] * grid[2] for grid in grids}
        keeps = {grid: self.stage.keep(count) for grid, count in counts.items()}
        if keeps == counts:
            encoded.kept = [torch.arange(counts[grid], device=device) for grid in grids]
            return
        states = hidden.detach()
        for grid, keep in keeps.items():
            images = tuple(number for number, other in enumerate(grids) if other == grid)
            places = order.places(grid).to(device, non_blocking=True)
            if self.tower.packed:
                first = upload([starts[number] for number in images], device)
                patches = states.squeeze(0)[places + first[:, None, None]]  # [I, N, unit, Dim]
            else:
                patches = states[:, places + prefix]
            positions = _positions(grid).to(device, non_blocking=True)
            chosen = self.stage.stage.choose(patches.float().mean(2), positions, keep, images)
            taken = places[chosen].flatten(1).sort(-1).values
            for row, number in enumerate(images):
                kept[number], where[number] = chosen[row], taken[row]
        encoded.kept = kept
        if self.tower.packed:
            self.index = torch.cat([at + start for at, start in zip(where, starts, strict=False)])
        else:
            heads = torch.arange(prefix, device=device).expand(len(grids), -1)
            self.index = torch.cat([heads, torch.stack(where) + prefix], 1)

    def _taken(self, states: Tensor) -> Tensor:
        """The rows that stay, of [..., P, Dim]."""
        if self.index is None:
            return states
        if self.index.ndim == 1:
            return states.index_select(-2, self.index)
        return states.gather(1, self.index[..., None].expand(-1, -1, states.shape[-1]))

    def _fitted(self, name: str, value: Any) -> Any:
        """An argument of a layer for the shorter sequence; equal ones are made once."""
        if not isinstance(value, Tensor | tuple):
            return value
        found = self._ready.get((name, id(value)))
        if found is None:  # the value is held, so that its id stays its own
            found = self._ready[name, id(value)] = value, self._made(name, value)
        return found[1]

    def _made(self, name: str, value: Any) -> Any:
        index = self.index
        assert index is not None
        if isinstance(value, tuple):
            return tuple(self._made(name, part) for part in value)
        if name in ("cu_seqlens", "cu_seq_lens_q", "cu_seq_lens_k"):
            return self._lengths(value)
        if name == "attention_mask":
            return _cut(_cut(value, index, -1), index, -2) if value.ndim == 4 else self._cut2(value)
        if isinstance(value, Tensor) and value.ndim >= 2 and value.shape[-2] == self.total:
            return self._taken(value)
        return value

    def _cut2(self, mask: Tensor) -> Tensor:
        """A mask [pictures, P], as FlashAttention has it."""
        assert self.index is not None
        return mask.gather(1, self.index)

    def _lengths(self, ends: Tensor) -> Tensor:
        """Ends of windows or frames counted anew; those that lost all of their patches go."""
        assert self.index is not None
        stays = torch.zeros(self.total, dtype=ends.dtype, device=ends.device)
        stays[self.index.to(ends.device)] = 1
        before = torch.nn.functional.pad(stays.cumsum(0, dtype=ends.dtype), (1, 0))
        return before[ends.long()].unique_consecutive()

    def _refilled(self, refill: Any, rows: Tensor) -> Tensor:
        """Rows [..., S, Dim] of what stayed among zeros in all places."""
        index = self.index
        assert index is not None
        total = self.total
        if not refill.prefix:
            index, total = (
                index[..., self.order.prefix :] - self.order.prefix,
                (total - self.order.prefix),
            )
        index = index[..., :: refill.unit] // refill.unit
        if rows.shape[-2] != index.shape[-1]:
            return rows  # made before the choice: deepstack
        full = rows.new_zeros(*rows.shape[:-2], total // refill.unit, rows.shape[-1])
        if index.ndim == 1:
            return full.index_copy(-2, index, rows)
        return full.scatter(-2, index[..., None].expand_as(rows), rows)


def _cut(mask: Tensor, index: Tensor, dim: int) -> Tensor:
    """mask [B or 1, 1, P, P] along one of its last dimensions."""
    if index.ndim == 1:
        return mask.index_select(dim, index)
    mask = mask.expand(len(index), -1, -1, -1)
    shape = [len(index), mask.shape[1], mask.shape[2], mask.shape[3]]
    shape[dim] = index.shape[1]
    lines = index[:, None, None, :] if dim == -1 else index[:, None, :, None]
    return mask.gather(dim, lines.expand(shape))


def _positions(grid: Grid) -> Tensor:
    frames, rows, columns = grid
    planes: Sequence[Plane] = (Plane((rows, columns)),) * frames
    return Visual(tuple(planes), stacked=frames > 1).positions()
