"""Time to the first token and per token, unpruned and pruned in turns."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from torch import Tensor

from stsprune.bench.timing import clock, spread
from stsprune.engine import prune
from stsprune.engine.forced import Prompt
from stsprune.method.base import Method

from .result import Pace


def race(
    runs: Sequence[tuple[Prompt, Tensor]],
    method: Method,
    rounds: int,
    advance: Callable[[int], object],
) -> tuple[Pace, Pace]:
    """(first token, per token) over all prompts with their forced tokens, `rounds` turns each.

    Who begins changes with every turn. The first tokens are not warmed up here: `compare` has run
    both sides.
    """
    firsts: list[dict[bool, float]] = []
    steps: list[dict[bool, float]] = []
    for turn in range(rounds):
        for prompt, tokens in runs:
            both = [_timed(prompt, tokens, method, bool((turn + side) % 2)) for side in range(2)]
            firsts.append({pruned: first for pruned, first, _ in both})
            steps.append({pruned: step for pruned, _, step in both})
        advance(1)
    return _pace(firsts), _pace(steps)


def _timed(
    prompt: Prompt, tokens: Tensor, method: Method, pruned: bool
) -> tuple[bool, float, float]:
    """(pruned, milliseconds to the first token, milliseconds per further token)."""
    device, out = str(prompt.model.device), list[Any]()
    with prune(prompt.model, method, family=prompt.family) if pruned else nullcontext():
        first = clock(lambda: out.append(prompt.prefill()), device)
        _, cache = out.pop()
        rest = clock(lambda: prompt.decode(tokens, cache), device)
    return pruned, first, rest / prompt.steps


def _pace(turns: Sequence[dict[bool, float]]) -> Pace:
    unpruned, pruned = ([turn[side] for turn in turns] for side in (False, True))
    return Pace(
        spread(unpruned),
        spread(pruned),
        statistics.median(turn[False] / turn[True] for turn in turns),
    )
