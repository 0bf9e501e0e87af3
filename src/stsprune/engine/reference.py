"""The oracle: the same model, unpruned, with the dropped tokens masked layer by layer.

Dropping a token must equal masking it (original positions). The reference shares no code with the
engine's forward pass: it runs prompt and continuation as one unpruned sequence without a KV cache
and takes the dropped tokens out of every decoder layer's own mask, so that sliding windows and
bidirectional images are what transformers makes of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .families import family_of
from .trace import Trace


@torch.no_grad()
def masked_logits(
    model: Any,
    inputs: Mapping[str, Any],
    trace: Trace,
    continuation: Tensor,
    questions: Sequence[tuple[int | Tensor, Trace]] = (),
) -> Tensor:
    """Logits after the prompt and after each forced token: [B, 1 + steps, vocabulary].

    inputs: what the processor gives: input_ids [B, T], attention_mask [B, T] (padded on the left),
    pixels and their shapes, optionally position_ids; trace: what pruned runs of these inputs kept
    (of several turns: all images, by row); continuation: token ids [B, steps]. Call it outside
    `prune`.
    questions: (column, trace), ascending, for reusable=True: from this column on (one for all rows
    or [B]) the text sees only what the semantic stages of that trace kept; `trace` then has
    structure stages only.
    """
    family = family_of(model)
    decoder = family.decoder(model)
    prompt = inputs["input_ids"]
    length, steps = prompt.shape[1], continuation.shape[1]
    ids = torch.cat([prompt, continuation.to(prompt)], 1)
    inner = family.inner(model)
    given = {name: _extended(name, value, prompt, steps) for name, value in inputs.items()}
    given["input_ids"] = ids
    given.setdefault("attention_mask", torch.ones_like(ids))
    if family.rotary_axes > 1 and "position_ids" not in inputs:
        given["position_ids"] = _axes_positions(inner, inputs, steps)

    marks = {kind: prompt == one for kind, one in family.token_ids(model).items()}
    columns = visual_columns(marks, trace)
    hidden = dropped_columns(marks, trace, len(decoder.layers))
    rows = [(start, dropped_columns(marks, one, len(decoder.layers))) for start, one in questions]
    width = length + steps
    handles = []
    for number, layer in enumerate(decoder.layers):
        seen = torch.ones(len(ids), width, width, dtype=torch.bool, device=ids.device)
        seen[:, :, :length] &= ~hidden[number][:, None]
        for start, veil in rows:
            asked = torch.arange(width, device=ids.device) >= torch.as_tensor(start).view(-1, 1)
            visible = ~hidden[number] & ~veil[number]
            seen[:, :, :length] = torch.where(
                asked[..., None], visible[:, None], seen[:, :, :length]
            )
        merging = _merging(trace, columns, number - 1)
        handles.append(layer.register_forward_pre_hook(merging, with_kwargs=True))
        handles.append(layer.register_forward_pre_hook(_masking(seen), with_kwargs=True))
    deltas = getattr(inner, "rope_deltas", None)
    try:
        if hasattr(inner, "rope_deltas"):
            inner.rope_deltas = None
        out = model(**given, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
        if hasattr(inner, "rope_deltas"):
            inner.rope_deltas = deltas
    # A prompt that ends with a visual token goes on from its last kept one.
    counted = torch.arange(length, device=ids.device)
    last = counted.masked_fill(hidden[-1], -1).amax(1)
    first = out.logits[torch.arange(len(ids), device=ids.device), last]
    return torch.cat([first[:, None], out.logits[:, length:]], 1)


def visual_columns(marks: Mapping[str, Tensor], trace: Trace) -> list[Tensor]:
    """Per image of the trace, the prompt's columns of its visual tokens: int64 [N].

    marks: bool [B, T] per modality, the placeholders.
    """
    used: dict[tuple[int, str], int] = {}
    found = []
    for image in trace.images:
        kind = "video" if image.visual.video else "image"
        start = used.get((image.row, kind), 0)
        mine = marks[kind][image.row].nonzero().flatten()
        found.append(mine[start + image.visual.offsets().to(mine.device)])
        used[image.row, kind] = start + image.visual.length
    return found


def dropped_columns(marks: Mapping[str, Tensor], trace: Trace, depth: int) -> list[Tensor]:
    """Per decoder layer, bool [B, T]: the prompt's columns that it no longer holds."""
    like = next(iter(marks.values()))
    dropped = [torch.zeros_like(like) for _ in range(depth)]
    for image, columns in zip(trace.images, visual_columns(marks, trace), strict=True):
        for stage in image.stages:
            gone = torch.ones_like(columns, dtype=torch.bool)
            gone[stage.kept] = False
            for layer in range(stage.layer + 1, depth):
                dropped[layer][image.row, columns[gone]] = True
    return dropped


def _extended(name: str, value: Any, prompt: Tensor, steps: int) -> Any:
    """Per-token inputs go on over the continuation: mask 1, type 0 (text), positions counted."""
    if not isinstance(value, Tensor) or value.shape[-2:] != prompt.shape:
        return value
    if name == "position_ids":
        counted = torch.arange(1, steps + 1, device=value.device)
        return torch.cat([value, value[..., -1:] + counted], -1)
    fill = torch.full((*value.shape[:-1], steps), int(name == "attention_mask"))
    return torch.cat([value, fill.to(value)], -1)


def _axes_positions(inner: Any, inputs: Mapping[str, Any], steps: int) -> Tensor:
    """mRoPE positions [3, B, T + steps]: the prompt's, then counted on as generate() does."""
    ids = inputs["input_ids"]
    wanted = inspect.signature(inner.get_rope_index).parameters
    given = {name: value for name, value in inputs.items() if name in wanted}
    given.setdefault("mm_token_type_ids", torch.zeros_like(ids))
    positions, deltas = inner.get_rope_index(**given)
    mask = inputs.get("attention_mask", torch.ones_like(ids))
    counted = mask.sum(1, keepdim=True) + torch.arange(steps, device=ids.device)
    following = (counted + deltas.to(ids.device)).expand(3, -1, -1)
    return torch.cat([positions, following.to(positions)], -1)


def _masking(seen: Tensor) -> Any:
    """Take what may not be seen (bool [B, T, T]) out of a layer's own mask."""
    width = seen.shape[1]
    causal = torch.ones(width, width, dtype=torch.bool, device=seen.device).tril()
    own = torch.eye(width, dtype=torch.bool, device=seen.device)

    def replace(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        mask, hidden = kwargs["attention_mask"], args[0]
        if mask is None:
            allowed = causal.expand(len(seen), 1, -1, -1)
        else:
            allowed = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
        allowed = allowed & seen[:, None] | own
        lowest = torch.finfo(hidden.dtype).min
        fresh = torch.where(allowed, hidden.new_zeros(()), lowest)
        return args, kwargs | {"attention_mask": fresh}

    return replace


def _merging(trace: Trace, columns: list[Tensor], layer: int) -> Any:
    """Where the stage at `layer` merged tokens, the kept ones go on as what they became."""
    merged = [
        (image.row, own[stage.kept], stage.merged)
        for image, own in zip(trace.images, columns, strict=True)
        for stage in image.stages
        if stage.layer == layer and stage.merged is not None
    ]

    def replace(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if not merged:
            return None
        hidden = args[0].clone()
        for row, kept, states in merged:
            hidden[row, kept] = states
        return (hidden, *args[1:]), kwargs

    return replace
