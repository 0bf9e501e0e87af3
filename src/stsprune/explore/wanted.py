"""What a visitor asks for: columns of a method and a budget."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Wanted:
    """One column: a method's name and its budget in visual tokens per decoder layer."""

    method: str
    budget: int
