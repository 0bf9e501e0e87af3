"""Int budgets where images have different numbers of tokens."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from stsprune.method.base import Method, Plan


def keep_small_images(method: Method) -> Method:
    """The same method, but an image with no more tokens than an int budget keeps them all.

    A benchmark holds images of every size: one thumbnail must not end it.
    """
    kind = type(method)

    def plan(self: Any, tokens: int, depth: int) -> Plan:
        if isinstance(self.budget, int) and self.budget >= tokens:
            return Plan()
        return kind.plan(self, tokens, depth)

    tolerant = type(kind.__name__, (kind,), {"plan": plan, "__module__": kind.__module__})
    settings = {f.name: getattr(method, f.name) for f in fields(method)}
    made: Method = tolerant(**settings)
    return made
