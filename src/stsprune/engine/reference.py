"""The oracle: the same model, unpruned, with the dropped tokens masked layer by layer.

Dropping a token must equal masking it (original positions). The reference shares no code with the
engine: it runs prompt and continuation as one unpruned sequence without a KV cache and gives every
decoder layer a 4-D mask in which the tokens that this layer no longer holds cannot be attended.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .families import family_of
from .trace import Trace


@torch.no_grad()
def masked_logits(
    model: Any, inputs: Mapping[str, Tensor], trace: Trace, continuation: Tensor
) -> Tensor:
    """Logits after the prompt and after each forced token: [B, 1 + steps, vocabulary].

    inputs: input_ids [B, T], attention_mask [B, T] (padded on the left), pixel_values, and
    optionally position_ids [B, T]; trace: what a pruned run of these inputs kept; continuation:
    token ids [B, steps]. Call it outside `prune`.
    """
    family = family_of(model)
    layers = family.decoder(model).layers
    prompt = inputs["input_ids"]
    length, steps = prompt.shape[1], continuation.shape[1]
    ids = torch.cat([prompt, continuation.to(prompt)], 1)
    ones = torch.ones_like(continuation)
    valid = torch.cat([inputs.get("attention_mask", torch.ones_like(prompt)), ones], 1).bool()
    positions = inputs.get("position_ids", valid[:, :length].long().cumsum(1) - 1)
    following = positions[:, -1:] + 1 + torch.arange(steps, device=prompt.device)
    positions = torch.cat([positions.clamp(min=0), following], 1)

    held = held_columns(prompt == family.image_token_id(model), trace, len(layers))
    width = length + steps
    causal = torch.ones(width, width, dtype=torch.bool, device=prompt.device).tril()
    own = torch.eye(width, dtype=torch.bool, device=prompt.device)
    handles = []
    try:
        for number, layer in enumerate(layers):
            keys = valid.clone()
            keys[:, :length] &= held[number]
            allowed = (causal & keys[:, None, :] | own)[:, None]
            mask = torch.zeros(allowed.shape, dtype=model.dtype, device=prompt.device)
            mask.masked_fill_(~allowed, torch.finfo(model.dtype).min)
            handles.append(layer.register_forward_pre_hook(_masking(mask), with_kwargs=True))
        extra = {k: v for k, v in inputs.items() if k == "pixel_values"}
        out = model(
            input_ids=ids,
            attention_mask=valid.long(),
            position_ids=positions,
            use_cache=False,
            **extra,
        )
    finally:
        for handle in handles:
            handle.remove()
    return out.logits[:, length - 1 :]


def held_columns(visual: Tensor, trace: Trace, depth: int) -> list[Tensor]:
    """Per decoder layer, bool [B, T]: the prompt's columns that it holds; visual: bool [B, T]."""
    columns = [row.nonzero().flatten().tolist() for row in visual]
    used = [0] * len(columns)
    held = [torch.ones_like(visual) for _ in range(depth)]
    for image in trace.images:
        size = image.grid[0] * image.grid[1]
        mine = columns[image.row][used[image.row] : used[image.row] + size]
        used[image.row] += size
        for stage in image.stages:
            gone = [c for i, c in enumerate(mine) if i not in set(stage.kept.tolist())]
            for layer in range(stage.layer + 1, depth):
                held[layer][image.row, gone] = False
    return held


def _masking(mask: Tensor) -> Any:
    def replace(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        return args, kwargs | {"attention_mask": mask}

    return replace
