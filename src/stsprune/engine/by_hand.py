"""The second oracle: every decoder layer called by hand on exactly the tokens that it holds.

The unpruned model runs once, without a KV cache, and shows what it gives each layer: positions,
masks, deepstack. Then each layer is called on the columns that it holds and nothing else, row by
row and without padding, and the model's own norm and head go on from there. Nothing is masked, so
it also judges layers that scan their tokens (linear attention, convolutions), where masking is not
removal. Of the engine's forward pass it shares nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stsprune.errors import UnsupportedModeError, UnsupportedModelError

from .families import Family, family_of
from .trace import Trace
from .unpruned import Unpruned, scans, unmasked, unpruned


@torch.no_grad()
def gathered_logits(
    model: Any,
    inputs: Mapping[str, Any],
    trace: Trace,
    continuation: Tensor,
    questions: Sequence[tuple[int | Tensor, Trace]] = (),
    *,
    family: str | Family | None = None,
) -> Tensor:
    """Logits after the prompt and after each forced token: [B, 1 + steps, vocabulary].

    Arguments as in `masked_logits`. What `questions` hide is held and masked, as in the engine.
    What a decoder does between two layers must be an addition that does not depend on what the
    layers made (deepstack). Raises UnsupportedModelError for layers that read another layer's keys
    (Gemma 4 E2B and E4B) or whose hidden states are not [B, T, Dim], UnsupportedModeError for
    questions where a layer takes no 4-D mask (scans, FlashAttention).
    """
    decoder = family_of(model, family).decoder(model)
    sequence = unpruned(model, inputs, trace, continuation, questions, family)
    for number, layer in enumerate(sequence.layers):
        if getattr(getattr(layer, "self_attn", None), "is_kv_shared_layer", False):
            raise UnsupportedModelError(
                f"model must have keys of its own in every layer, layer {number} reads another's"
            )
        if questions and scans(decoder.config, number):
            raise UnsupportedModeError(
                f"questions must be empty: the state of layer {number} cannot un-see a token"
            )
    recorder = _Recorder(sequence)
    handles = [
        handle
        for layer in sequence.layers
        for handle in (
            layer.register_forward_pre_hook(recorder.before, with_kwargs=True),
            layer.register_forward_hook(recorder.behind),
        )
    ]
    try:
        return sequence.logits()
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class _Call:
    """What the unpruned decoder gave a layer besides its hidden states.

    added: [B, W, Dim] on the way from the layer before; of the first layer, the hidden states.
    """

    added: Tensor
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


class _Recorder:
    """Hooks of all layers: notes the calls and puts the states made by hand behind the last."""

    def __init__(self, sequence: Unpruned) -> None:
        self.sequence, self.calls = sequence, list[_Call]()
        self.last: Tensor | None = None

    def before(self, layer: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        hidden = args[0]
        if hidden.shape[:2] != self.sequence.given["input_ids"].shape or hidden.ndim != 3:
            raise UnsupportedModelError(
                "decoder layers must take hidden states [batch, tokens, size], got "
                f"{tuple(hidden.shape)}"
            )
        added = hidden if self.last is None else hidden - self.last.to(hidden.device)
        self.calls.append(_Call(added, args[1:], kwargs))

    def behind(self, layer: Any, args: tuple[Any, ...], out: Any) -> Any:
        self.last = _states(out)
        if len(self.calls) < len(self.sequence.layers):
            return None
        states = _run(self.sequence, self.calls).to(self.last)
        return states if isinstance(out, Tensor) else (states, *out[1:])


def _run(sequence: Unpruned, calls: Sequence[_Call]) -> Tensor:
    """[B, W, Dim] behind the last layer; columns that it does not hold mean nothing."""
    states = torch.zeros_like(calls[0].added)
    for number, (layer, call) in enumerate(zip(sequence.layers, calls, strict=True)):
        states = states.to(call.added) + call.added
        if number > 0:  # the decoder's own input is merged already
            states = sequence.merged(states, number)
        held = sequence.held(number)
        seen = sequence.visible(number) if sequence.veils else None
        for row in range(len(states)):
            columns = held[row].nonzero().flatten().to(states.device)
            part = _Part(row, columns, *held.shape)
            kwargs = {name: part.of(value) for name, value in call.kwargs.items()}
            mask = call.kwargs.get("attention_mask")
            kwargs["attention_mask"] = part.of_mask(mask)
            if seen is not None:
                visible = seen[row][columns][:, columns]
                kwargs["attention_mask"] = _veiled(layer, kwargs["attention_mask"], visible)
            # `forward`, so that the recording hooks stay out.
            out = layer.forward(states[row, columns][None], *part.of(call.args), **kwargs)
            states[row, columns] = _states(out)[0]
    return states


@dataclass(frozen=True)
class _Part:
    """Some columns (int64 [S]) of one row of a batch of `rows` sequences, each of `width`."""

    row: int
    columns: Tensor
    rows: int
    width: int

    def of(self, value: Any) -> Any:
        """Cut whatever has an axis of tokens, inside tuples too; the batch is the axis before."""
        if isinstance(value, (tuple, list)):
            return type(value)(self.of(item) for item in value)
        if not isinstance(value, Tensor) or self.width not in value.shape:
            return value
        # Never the first of several axes where another one fits: that is the batch.
        axes = [axis for axis, size in enumerate(value.shape) if size == self.width]
        axis = next((axis for axis in axes if axis > 0), 0)
        if axis > 0 and value.shape[axis - 1] == self.rows:
            value = value.narrow(axis - 1, self.row, 1)
        return value.index_select(axis, self.columns.to(value.device))

    def of_mask(self, mask: Any) -> Any:
        """Rows and columns of [B, 1, W, W]; [B, W] and None are for layers that read them so."""
        if not isinstance(mask, Tensor) or mask.ndim != 4:
            return self.of(mask)
        columns = self.columns.to(mask.device)
        mask = mask.narrow(0, self.row if len(mask) > 1 else 0, 1)
        return mask.index_select(2, columns).index_select(3, columns)


def _veiled(layer: Any, mask: Any, seen: Tensor) -> Tensor:
    """A mask [1, 1, S, S] that also hides what is not in `seen` [S, S]."""
    if mask is None:
        mask = unmasked(layer, seen)[None, None]
    if mask.ndim != 4:
        raise UnsupportedModeError(
            "questions must be empty where attention takes no 4-D mask "
            "(model.set_attn_implementation('sdpa'))"
        )
    allowed = seen | torch.eye(len(seen), dtype=torch.bool, device=seen.device)
    if mask.dtype == torch.bool:
        return mask & allowed
    return mask.masked_fill(~allowed, torch.finfo(mask.dtype).min)


def _states(out: Any) -> Tensor:
    """A layer's hidden states; some layers return further things behind them."""
    states: Tensor = out if isinstance(out, Tensor) else out[0]
    return states
