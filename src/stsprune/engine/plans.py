"""How many tokens every image keeps where, known before a pass begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from stsprune.errors import UnsupportedModeError
from stsprune.method.base import Method, Plan, tokens_per_layer
from stsprune.selection.share import share_budget

from .costs import selection_flops
from .gain import BALANCE, expected_share
from .layout import Layout, buckets
from .stages import entering


@dataclass(frozen=True)
class Settings:
    """What `prune` was asked for."""

    method: Method
    compact: bool = False
    reusable: bool = False
    budget_total: int | None = None

    @property
    def late(self) -> bool:
        """Whether only the images' tokens tell how many of them stay."""
        return self.budget_total is not None or self.method.adapts


def plan_images(method: Method, layout: Layout, depth: int, scoring: Sequence[int]) -> list[Plan]:
    """A plan per bucket; raises what `Method.plan_on` raises, and UnsupportedModeError."""
    plans = [method.plan_on(bucket.visual.tokens, depth, scoring) for bucket in layout.buckets]
    return _with_text(plans, layout)


def plan_late(
    settings: Settings, layout: Layout, embeds: Tensor, depth: int, scoring: Sequence[int]
) -> tuple[Layout, list[Plan]]:
    """A plan per bucket where budgets follow from what is in the images (`Settings.late`).

    embeds [B, T, Dim]: what enters the decoder. The counts go to the host: one synchronisation.
    The layout's buckets are made anew. Raises as `plan_images`.
    """
    method, total = settings.method, settings.budget_total
    columns: list[Tensor] = [layout.valid] * len(layout.visuals)
    for bucket in layout.buckets:
        for image, places in zip(bucket.images, bucket.columns, strict=True):
            columns[image] = places
    if total is None:
        budgets = _counts(method, layout, embeds)
    else:
        budgets = _shares(layout, columns, total, embeds)
    layout = replace(layout, buckets=buckets(layout, columns, budgets))
    plans = [
        method.fixed(bucket.budget).plan_on(bucket.visual.tokens, depth, scoring)
        for bucket in layout.buckets
        if bucket.budget is not None  # all have one
    ]
    return layout, _with_text(plans, layout)


def _shares(layout: Layout, columns: Sequence[Tensor], total: int, embeds: Tensor) -> list[int]:
    """Per image, its share of its row's `total`."""
    budgets = [0] * len(columns)
    for row in sorted(set(layout.image_rows)):
        images = [image for image, other in enumerate(layout.image_rows) if other == row]
        shares = share_budget([embeds[row, columns[image]] for image in images], total)
        for image, share in zip(images, shares, strict=True):
            budgets[image] = share
    return budgets


def _counts(method: Method, layout: Layout, embeds: Tensor) -> list[int]:
    """Per image, what `Method.counts` says."""
    counts = [method.counts(entering(bucket, embeds)) for bucket in layout.buckets]
    images = [image for bucket in layout.buckets for image in bucket.images]
    together = torch.cat(counts).tolist()
    return [count for _, count in sorted(zip(images, together, strict=True))]


def row_lengths(layout: Layout, plans: Sequence[Plan], depth: int) -> list[list[int]]:
    """Tokens per decoder layer, for every row."""
    rows = [[count] * depth for count in layout.valid_counts]
    for bucket, plan in zip(layout.buckets, plans, strict=True):
        tokens = bucket.visual.tokens
        held = tokens_per_layer(plan, tokens, depth)
        for image in bucket.images:
            row = rows[layout.image_rows[image]]
            row[:] = [n - tokens + kept for n, kept in zip(row, held, strict=True)]
    return rows


def expected_gain(layout: Layout, plans: Sequence[Plan], decoder: Any, embeds: Tensor) -> float:
    """Expected time of a prefill over the unpruned one, see `gain`; host numbers only."""
    depth = len(decoder.layers)
    unpruned = [[count] * depth for count in layout.valid_counts]
    pruned = row_lengths(layout, plans, depth)
    selection = sum(
        selection_flops(bucket.visual.tokens, embeds.shape[-1]) * len(bucket.images)
        for bucket, plan in zip(layout.buckets, plans, strict=True)
        if plan.structure is not None
    )
    balance = BALANCE.get(embeds.device.type, BALANCE["cuda"])
    return expected_share(decoder.config, unpruned, pruned, selection, embeds.itemsize, balance)


def _with_text(plans: list[Plan], layout: Layout) -> list[Plan]:
    """A semantic stage reads the text behind the images. Raises UnsupportedModeError."""
    asks = any(plan.semantics for plan in plans)
    if asks and min(count for bucket in layout.buckets for count in bucket.text) < 1:
        raise UnsupportedModeError(
            "a semantic stage needs text after the image: the prompt must not end with it"
        )
    return plans
