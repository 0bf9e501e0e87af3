"""The larger model's words; what it does not know it spells, so that answers can be spelt too."""

from __future__ import annotations

from functools import cache

from ..glyphs import GLYPHS
from ..questions import DIRECTIONS, PLURALS, REGIONS
from ..scenes import COLOURS, SHAPES
from ..text import PROMPT_WORDS, SPECIAL
from .grounds import GROUNDS

#: Words of SceneQA 2's questions that SceneQA's do not use.
WORDS = (
    "nearest",
    "between",
    "larger",
    "or",
    "list",
    "colours",
    "from",
    "word",
    "number",
    "sign",
    "signs",
    "all",
    "no",
    "yes",
    "small",
    "large",
)
LETTERS = "abcdefghijklmnopqrstuvwxyz"
DIGITS = "0123456789"


@cache
def known_words() -> frozenset[str]:
    """Words of more than one character."""
    words = {*PROMPT_WORDS, *WORDS, *COLOURS, *SHAPES, *PLURALS.values(), *DIRECTIONS, *REGIONS}
    return frozenset(word for word in words | {*GROUNDS} if len(word) > 1)


def vocabulary() -> list[str]:
    """All tokens in id order: special ones, words, characters and characters inside a word."""
    words = [*SPECIAL, *PROMPT_WORDS, *WORDS, *COLOURS, *SHAPES, *PLURALS.values()]
    words += [*DIRECTIONS, *REGIONS, *GROUNDS, *GLYPHS, *LETTERS, *DIGITS]
    words += [f"##{character}" for character in LETTERS + DIGITS]
    return list(dict.fromkeys(words))
