"""Counters on vLLM's own /metrics, made where prompts are: in the server's process.

What the choice itself costs is not among them: that happens in the engine's process, and on a GPU
nobody waits for its end.
"""

from __future__ import annotations

from contextvars import ContextVar

from prometheus_client import Counter

#: Whether vLLM makes inputs up, to see how much memory they take: they are not counted.
made_up: ContextVar[bool] = ContextVar("stsprune_made_up", default=False)

_before = Counter("stsprune:visual_tokens_before", "Visual tokens of prompts before pruning.")
_after = Counter("stsprune:visual_tokens_after", "Visual tokens of prompts that were kept.")
_requests = Counter("stsprune:pruned_requests", "Requests of which visual tokens were dropped.")


def count(before: int, after: int) -> None:
    """A prompt's visual tokens before and after pruning; 0 without images."""
    if made_up.get():
        return
    _before.inc(before)
    _after.inc(after)
    _requests.inc(after < before)
