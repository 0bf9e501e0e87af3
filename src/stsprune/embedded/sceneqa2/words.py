"""What stands on signs: pronounceable words of 2 to 5 letters and numbers of 2 to 5 digits."""

from __future__ import annotations

import zlib

import numpy as np

from .atlas import DIGITS, LETTERS

VOWELS = "aeiou"
CONSONANTS = "".join(letter for letter in LETTERS if letter not in VOWELS)
PATTERNS = ("cv", "vc", "cvc", "vcv", "cvcv", "vccv", "cvcvc", "cvccv")
LONGEST = 5


def held_out(text: str) -> bool:
    """Whether no training or validation scene shows this text: an eighth of all."""
    return zlib.crc32(text.encode()) % 8 == 0


def sign_text(rng: np.random.Generator, split: str, taken: frozenset[str]) -> str:
    """A word or a number; half of the test split's are held out.

    taken: words of the vocabulary. No text begins with one, so that each of its characters is a
    token of its own.
    """
    wanted = split == "test" and rng.random() < 0.5
    while True:
        if rng.random() < 0.5:
            length = rng.integers(2, LONGEST + 1)
            text = "".join(DIGITS[digit] for digit in rng.integers(0, 10, length))
        else:
            pattern = PATTERNS[rng.integers(len(PATTERNS))]
            kinds = {"c": CONSONANTS, "v": VOWELS}
            text = "".join(kinds[k][rng.integers(len(kinds[k]))] for k in pattern)
        begins = any(text[:end] in taken for end in range(2, len(text) + 1))
        if not begins and held_out(text) == wanted:
            return text
