"""The page's state as the query of its address, so that a view can be shared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs

from .picture import SCENES

METHOD, OTHER = "sts", "attention-only"
LONGEST_QUESTION = 500


@dataclass(frozen=True)
class State:
    """What the controls say. budget, other_budget: visual tokens, None = the page's default.

    at: place of the layer slider (0 = all tokens, n = decoder layer n - 1), heat: whether scores
    are shown; both belong to the browser alone.
    """

    scene: int = 0
    question: str = ""
    method: str = METHOD
    budget: int | None = None
    compare: bool = False
    other: str = OTHER
    other_budget: int | None = None


def read_address(query: str, methods: Sequence[str]) -> tuple[State, list[str]]:
    """The state that an address holds, and a line for everything in it that cannot be."""
    given = {key: values[-1] for key, values in parse_qs(query.lstrip("?")).items()}
    wrong: list[str] = []

    def number(key: str, least: int, most: int | None = None) -> int | None:
        text = given.get(key)
        if text is None:
            return None
        if text.isascii() and text.isdigit() and len(text) < 10:
            value = int(text)
            if least <= value and (most is None or value <= most):
                return value
        allowed = f"{least} or more" if most is None else f"in {least}..{most}"
        wrong.append(f"{key} in the address must be a whole number {allowed}, got {text[:40]!r}")
        return None

    def name(key: str, default: str) -> str:
        text = given.get(key, default)
        if text in methods:
            return text
        wrong.append(f"{key} in the address must be one of the methods, got {text[:40]!r}")
        return default

    question = given.get("question", "")
    if len(question) > LONGEST_QUESTION:
        wrong.append(
            f"question in the address must have at most {LONGEST_QUESTION} characters, "
            f"got {len(question)}"
        )
        question = ""
    state = State(
        number("scene", 0, SCENES - 1) or 0,
        question,
        name("method", METHOD),
        number("budget", 1),
        given.get("compare") == "1",
        name("other", OTHER),
        number("other_budget", 1),
    )
    return state, wrong
