"""A task's generation settings as `generate()` takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: As lmms-eval's own models: tasks that name no length expect a free answer.
MAX_NEW_TOKENS = 1024
_PASSED = ("min_new_tokens", "num_beams", "length_penalty", "repetition_penalty")
_SAMPLING = ("temperature", "top_p", "top_k")


def generate_settings(task: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments for `generate()`; greedy unless the task asks for a temperature.

    Settings of other models' own (image_aspect_ratio and the like) are left out.
    """
    out = {name: task[name] for name in _PASSED if task.get(name) is not None}
    out["max_new_tokens"] = task.get("max_new_tokens") or MAX_NEW_TOKENS
    sampled = bool(task.get("temperature")) and task.get("do_sample", True)
    out["do_sample"] = sampled
    # None also takes back what the checkpoint's own generation config says.
    out |= {name: task.get(name) if sampled else None for name in _SAMPLING}
    return out


def stop_texts(task: Mapping[str, Any]) -> list[str]:
    """The texts that end an answer."""
    until = task.get("until") or []
    return [text for text in ([until] if isinstance(until, str) else until) if text]


def cut(answer: str, stops: Sequence[str]) -> str:
    """The answer up to the first stop text."""
    for stop in stops:
        answer = answer.split(stop)[0]
    return answer.strip()
