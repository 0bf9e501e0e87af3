"""What both oracles run: prompt and continuation as one unpruned sequence, without a KV cache."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .families import Family, family_of
from .trace import Trace


@dataclass(frozen=True)
class Unpruned:
    """W columns: a prompt of T and what is forced behind it.

    inner, decoder, layers: the model's parts; given: its inputs over all W columns; length: T;
    columns: per image of the trace the prompt's columns of its visual tokens; dropped: per layer
    bool [B, T], what it no longer holds; veils: (start, per layer bool [B, T]) of `questions`.
    """

    model: Any
    inner: Any
    decoder: Any
    layers: Sequence[Any]
    given: Mapping[str, Any]
    length: int
    trace: Trace
    columns: list[Tensor]
    dropped: list[Tensor]
    veils: list[tuple[int | Tensor, list[Tensor]]]

    @property
    def width(self) -> int:
        """Columns of prompt and continuation."""
        return int(self.given["input_ids"].shape[1])

    def held(self, layer: int) -> Tensor:
        """bool [B, W]: the columns that a layer holds, padding aside."""
        real = self.given["attention_mask"].bool().clone()
        real[:, : self.length] &= ~self.dropped[layer]
        return real

    def visible(self, layer: int) -> Tensor:
        """bool [B, W, W]: what each column may see of what the layer holds, causality aside."""
        ids, length = self.given["input_ids"], self.length
        at = torch.arange(self.width, device=ids.device)
        seen = torch.ones(len(ids), self.width, self.width, dtype=torch.bool, device=ids.device)
        seen[:, :, :length] &= ~self.dropped[layer][:, None]
        for start, veil in self.veils:
            asked = at >= torch.as_tensor(start, device=ids.device).view(-1, 1)
            bare = ~self.dropped[layer] & ~veil[layer]
            seen[:, :, :length] = torch.where(asked[..., None], bare[:, None], seen[:, :, :length])
        return seen

    def merged(self, hidden: Tensor, layer: int) -> Tensor:
        """The layer's input [B, W, Dim]: kept tokens go on as what a merge before it made.

        Layer 0 stands for the decoder's own input, which some decoders scale before that layer.
        """
        changes = [
            (image.row, columns[stage.kept], stage.merged)
            for image, columns in zip(self.trace.images, self.columns, strict=True)
            for stage in image.stages
            if stage.layer == layer - 1 and stage.merged is not None
        ]
        hidden = hidden.clone() if changes else hidden
        for row, kept, states in changes:
            hidden[row, kept] = states
        return hidden

    def logits(self) -> Tensor:
        """The model's own forward pass: [B, 1 + steps, vocabulary], hooks of the caller and all."""
        deltas = getattr(self.inner, "rope_deltas", None)
        handle = self.decoder.register_forward_pre_hook(self._enter, with_kwargs=True)
        try:
            if hasattr(self.inner, "rope_deltas"):
                self.inner.rope_deltas = None
            out = self.model(**self.given, use_cache=False).logits
        finally:
            handle.remove()
            if hasattr(self.inner, "rope_deltas"):
                self.inner.rope_deltas = deltas
        # A prompt that ends with a visual token goes on from its last kept one.
        counted = torch.arange(self.length, device=out.device)
        last = counted.masked_fill(self.dropped[-1].to(out.device), -1).amax(1)
        first = out[torch.arange(len(out), device=out.device), last]
        return torch.cat([first[:, None], out[:, self.length :]], 1)

    def _enter(self, module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        return args, kwargs | {"inputs_embeds": self.merged(kwargs["inputs_embeds"], 0)}


def unpruned(
    model: Any,
    inputs: Mapping[str, Any],
    trace: Trace,
    continuation: Tensor,
    questions: Sequence[tuple[int | Tensor, Trace]] = (),
    family: str | Family | None = None,
) -> Unpruned:
    """The sequence of an oracle's arguments (`masked_logits`)."""
    family = family_of(model, family)
    inner, decoder = family.inner(model), family.decoder(model)
    prompt, steps = inputs["input_ids"], continuation.shape[1]
    ids = torch.cat([prompt, continuation.to(prompt)], 1)
    given = {name: _extended(family, name, value, prompt, steps) for name, value in inputs.items()}
    given["input_ids"] = ids
    given.setdefault("attention_mask", torch.ones_like(ids))
    if family.rotary_axes > 1 and "position_ids" not in inputs:
        given["position_ids"] = _axes_positions(family, inner, inputs, steps)
    marks = {kind: prompt == token for kind, token in family.token_ids(model).items()}
    depth = len(decoder.layers)
    return Unpruned(
        model,
        inner,
        decoder,
        decoder.layers,
        given,
        prompt.shape[1],
        trace,
        visual_columns(marks, trace),
        dropped_columns(marks, trace, depth),
        [(start, dropped_columns(marks, columns, depth)) for start, columns in questions],
    )


def visual_columns(marks: Mapping[str, Tensor], trace: Trace) -> list[Tensor]:
    """Per image of the trace, the prompt's columns of its visual tokens: int64 [N].

    marks: bool [B, T] per modality, the placeholders.
    """
    used: dict[tuple[int, str], int] = {}
    found = []
    for image in trace.images:
        kind = "video" if image.visual.video else "image"
        start = used.get((image.row, kind), 0)
        places = marks[kind][image.row].nonzero().flatten()
        found.append(places[start + image.visual.offsets().to(places.device)])
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


def scans(config: Any, layer: int) -> bool:
    """Whether a decoder layer is no softmax attention but a scan (linear attention, conv, Mamba).

    config: the decoder's.
    """
    kinds = getattr(config, "layer_types", None)
    kind = "full_attention" if kinds is None else kinds[layer]
    return "linear" in kind or not kind.endswith("attention")


def unmasked(layer: Any, like: Tensor) -> Tensor:
    """bool [S, S]: what a layer without a mask lets each of S tokens see; like: [..., S]."""
    width = like.shape[-1]
    every = torch.ones(width, width, dtype=torch.bool, device=like.device)
    causal = getattr(getattr(layer, "self_attn", None), "is_causal", True)
    return every.tril() if causal else every


def _extended(family: Family, name: str, value: Any, prompt: Tensor, steps: int) -> Any:
    """Per-token inputs go on over the continuation as text; positions are counted on."""
    if not isinstance(value, Tensor) or value.shape[-2:] != prompt.shape:
        return value
    if name == "position_ids":
        counted = torch.arange(1, steps + 1, device=value.device)
        return torch.cat([value, value[..., -1:] + counted], -1)
    fill = torch.full((*value.shape[:-1], steps), family.text_inputs.get(name, 0))
    return torch.cat([value, fill.to(value)], -1)


def _axes_positions(family: Family, inner: Any, inputs: Mapping[str, Any], steps: int) -> Tensor:
    """mRoPE positions [axes, B, T + steps]: the prompt's, then counted on as generate() does."""
    ids = inputs["input_ids"]
    wanted = inspect.signature(inner.get_rope_index).parameters
    given = {family.rope_inputs.get(name, name): value for name, value in inputs.items()}
    given = {name: value for name, value in given.items() if name in wanted}
    if "mm_token_type_ids" in wanted:
        given.setdefault("mm_token_type_ids", torch.zeros_like(ids))
    positions, deltas = inner.get_rope_index(**given)
    mask = inputs.get("attention_mask", torch.ones_like(ids))
    counted = mask.sum(1, keepdim=True) + torch.arange(steps, device=ids.device)
    following = (counted + deltas.to(ids.device)).expand(len(positions), -1, -1)
    return torch.cat([positions, following.to(positions)], -1)
