"""The first oracle: the same model, unpruned, with the dropped tokens masked layer by layer.

Dropping a token must equal masking it (original positions). The reference shares no code with the
engine's forward pass: it runs prompt and continuation as one unpruned sequence without a KV cache
and takes the dropped tokens out of every decoder layer's own mask, so that sliding windows and
bidirectional images are what transformers makes of them. The second oracle is in by_hand.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from stsprune.errors import UnsupportedModelError

from .families import Family, family_of
from .trace import Trace
from .unpruned import Unpruned, scans, unmasked, unpruned


@torch.no_grad()
def masked_logits(
    model: Any,
    inputs: Mapping[str, Any],
    trace: Trace,
    continuation: Tensor,
    questions: Sequence[tuple[int | Tensor, Trace]] = (),
    *,
    family: str | Family | None = None,
) -> Tensor:
    """Logits after the prompt and after each forced token: [B, 1 + steps, vocabulary].

    inputs: what the processor gives: input_ids [B, T], attention_mask [B, T] (padded on the left),
    pixels and their shapes, optionally position_ids; trace: what pruned runs of these inputs kept
    (of several turns: all images, by row); continuation: token ids [B, steps]. Call it outside
    `prune`.
    questions: (column, trace), ascending, for reusable=True: from this column on (one for all rows
    or [B]) the text sees only what the semantic stages of that trace kept; `trace` then has
    structure stages only. family: as `prune` was given it.
    Raises UnsupportedModelError for layers that scan: what is masked is in their state still.
    """
    config = family_of(model, family).decoder(model).config
    sequence = unpruned(model, inputs, trace, continuation, questions, family)
    for number in range(len(sequence.layers)):
        if scans(config, number):
            raise UnsupportedModelError(
                f"model must have attention layers only, got {config.layer_types[number]!r} at "
                f"layer {number}: there masking is not removal (use `gathered_logits`)"
            )
    handles = []
    for number, layer in enumerate(sequence.layers):
        for hook in (_merging(sequence, number), _masking(sequence.visible(number))):
            handles.append(layer.register_forward_pre_hook(hook, with_kwargs=True))
    try:
        return sequence.logits()
    finally:
        for handle in handles:
            handle.remove()


def _masking(seen: Tensor) -> Any:
    """Take what may not be seen (bool [B, W, W]) out of a layer's own mask."""
    width = seen.shape[1]
    diagonal = torch.eye(width, dtype=torch.bool, device=seen.device)

    def replace(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        mask, hidden = kwargs["attention_mask"], args[0]
        if mask is None:
            allowed = unmasked(module, seen)[None, None]
        else:
            allowed = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
        allowed = allowed & seen[:, None] | diagonal
        lowest = torch.finfo(hidden.dtype).min
        fresh = torch.where(allowed, hidden.new_zeros(()), lowest)
        return args, kwargs | {"attention_mask": fresh}

    return replace


def _merging(sequence: Unpruned, number: int) -> Any:
    """Give a layer what a merge before it made of the kept tokens."""

    def replace(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if number == 0:  # is done where the decoder begins
            return None
        return (sequence.merged(args[0], number), *args[1:]), kwargs

    return replace
