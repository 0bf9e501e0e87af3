"""The blind baseline: the best answer to a SceneQA question for somebody who sees no picture.

It knows every training question's text and answers what was right most often for that text,
backing off to the family's commonest answer where a text was seen too rarely to tell.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from ..embedded.questions import Question

SEEN_ENOUGH = 20  # times a text must have been seen for its own statistics to be trusted


class Blind:
    """P(answer | question text) as counted on training questions."""

    def __init__(self, training: Iterable[Question]) -> None:
        self._texts: dict[str, Counter[str]] = defaultdict(Counter)
        self._families: dict[str, Counter[str]] = defaultdict(Counter)
        for question in training:
            self._texts[question.text][question.answer] += 1
            self._families[question.family][question.answer] += 1

    def answers(self, asked: Sequence[Question]) -> list[str]:
        """One guess per question."""
        return [self._guess(question) for question in asked]

    def _guess(self, question: Question) -> str:
        seen = self._texts.get(question.text, Counter())
        if seen.total() < SEEN_ENOUGH:
            seen = self._families[question.family]
        return seen.most_common(1)[0][0]
