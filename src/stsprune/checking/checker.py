"""`stsprune.check`: one model, some prompts, one method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from stsprune.bench.machine import machine
from stsprune.engine import prune
from stsprune.engine.families import Family, family_of
from stsprune.engine.forced import Prompt, untouched
from stsprune.engine.unwrap import unwrap
from stsprune.errors import InvalidArgumentError, InvalidTypeError
from stsprune.method.base import Method

from .exactness import compare, with_shared_bar
from .pace import race
from .result import Check, Setting


@torch.no_grad()
def check(
    model: Any,
    inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    method: Method,
    *,
    steps: int = 16,
    rounds: int = 5,
    family: str | None = None,
    advance: Callable[[int], object] = lambda count: None,
) -> Check:
    """Is pruning exact on this model, in its dtype and on its device, and what does it save?

        found = stsprune.check(model, inputs, stsprune.STS(budget=64))
        print(found.verdict)

    Every prompt is read and `steps` tokens are forced behind it (the unpruned model's own greedy
    answer). Compared are the pruned logits with two oracles that share no code with the engine's
    forward pass, a budget of 1.0 with the unpruned model, and the KV cache's bytes with the plan's.
    Then both sides are timed in turns. In float32 logits may differ by 1e-4, in half precision by
    eight times the most that the unpruned model differs by from itself, cached against not.

    Args:
        model: As for `prune`, left as it was.
        inputs: What the processor gives for one prompt (or a batch, padded on the left) with
            images or videos, on the model's device, or several of these.
        method: What is checked, for example `STS(budget=64)`.
        steps: Tokens forced behind each prompt, >= 1.
        rounds: Turns of the clock, >= 1.
        family: As for `prune`.
        advance: Told 1 after each prompt and each turn.

    Returns:
        Differences, sizes, times and the verdict; a failed check is a result, no error.

    Raises:
        InvalidArgumentError: Inputs that cannot be checked (no image, a budget that drops nothing).
        InvalidTypeError: Inputs of another kind; besides, what `prune` raises.
    """
    with prune(model, method, family=family):  # refuses what cannot be pruned before any work
        pass
    model = unwrap(model)
    adapter = family_of(model, family)
    for name, count in (("steps", steps), ("rounds", rounds)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise InvalidArgumentError(f"{name} must be an int >= 1, got {count!r}")
    asked = [inputs] if isinstance(inputs, Mapping) else list(inputs)
    if not asked:
        raise InvalidArgumentError("inputs must hold at least one prompt, got none")
    for example in asked:
        _check_inputs(model, example, adapter)
    with untouched(model, adapter):
        prompts = [Prompt.of(model, dict(example), steps, adapter) for example in asked]
        found, runs = [], []
        for prompt in prompts:
            result, tokens = compare(prompt, method)
            found.append(result)
            runs.append((prompt, tokens))
            advance(1)
        first, step = race(runs, method, rounds, advance)
    return Check(
        _setting(model, method, adapter),
        steps,
        with_shared_bar(found),
        first,
        step,
        machine(str(model.device)),
    )


def _check_inputs(model: Any, inputs: Any, family: Family) -> None:
    """Raises InvalidTypeError or InvalidArgumentError."""
    ids = inputs.get("input_ids") if isinstance(inputs, Mapping) else None
    if not isinstance(ids, torch.Tensor) or ids.ndim != 2:
        what = type(inputs).__name__ if ids is None else f"input_ids {type(ids).__name__}"
        raise InvalidTypeError(
            "inputs must be what the processor gives with return_tensors='pt' (input_ids [B, T], "
            f"pixels and their shapes), got {what}"
        )
    marks = list(family.token_ids(model).values())
    if not torch.isin(ids, ids.new_tensor(marks)).any():
        raise InvalidArgumentError(
            f"inputs must hold an image or a video, got input_ids {list(ids.shape)} without one"
        )


def _setting(model: Any, method: Method, family: Family) -> Setting:
    decoder = family.decoder(model)
    return Setting(
        model=type(model).__name__,
        decoder=type(decoder).__name__,
        parameters=sum(weight.numel() for weight in model.parameters()),
        layers=len(decoder.layers),
        dtype=str(model.dtype).removeprefix("torch."),
        device=str(model.device),
        attention=decoder.config._attn_implementation,
        method=repr(method),
    )
