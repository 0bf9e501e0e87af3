"""The blind baseline: the best answer to a SceneQA question for somebody who sees no picture.

It knows every training question's text and answers what was right most often for that text,
backing off to the family's commonest answer where a text was seen too rarely to tell. What it has
learnt ships as json, made by `python -m stsprune.evaluation.blind [BENCHMARK]` in half a minute.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from ..embedded.questions import Question
from .benchmarks import Benchmark, find_benchmark

SEEN_ENOUGH = 20  # times a text must have been seen for its own statistics to be trusted
SCENES, PER_FAMILY = 4000, 3  # training scenes read, and questions of each


class Blind:
    """The likeliest answer given the question's text, as counted on training questions."""

    def __init__(self, texts: dict[str, str], families: dict[str, str]) -> None:
        """texts: question -> answer; families: family -> answer, for all other questions."""
        self.texts, self.families = texts, families

    @classmethod
    def count(cls, training: Iterable[Question]) -> Blind:
        """Learn from questions."""
        texts: dict[str, Counter[str]] = defaultdict(Counter)
        families: dict[str, Counter[str]] = defaultdict(Counter)
        for question in training:
            texts[question.text][question.answer] += 1
            families[question.family][question.answer] += 1
        often = {text: seen for text, seen in texts.items() if seen.total() >= SEEN_ENOUGH}
        return cls(_commonest(often), _commonest(families))

    @classmethod
    def shipped(cls, benchmark: str = "sceneqa") -> Blind:
        """What `SCENES` training scenes taught."""
        return cls(**json.loads(find_benchmark(benchmark).blind.read_text()))

    def answers(self, asked: Sequence[Question]) -> list[str]:
        """One guess per question."""
        return [self.texts.get(question.text, self.families[question.family]) for question in asked]

    def document(self) -> dict[str, Any]:
        """What `shipped` reads."""
        return {"texts": self.texts, "families": self.families}


def _commonest(seen: dict[str, Counter[str]]) -> dict[str, str]:
    return {key: counter.most_common(1)[0][0] for key, counter in sorted(seen.items())}


def learn(benchmark: Benchmark) -> Blind:
    """Count on the training scenes."""
    drawn = (benchmark.draw("train", index, benchmark.grid) for index in range(SCENES))
    return Blind.count(question for scene in drawn for question in benchmark.ask(scene, PER_FAMILY))


if __name__ == "__main__":
    from ..atomic import write_json

    asked = find_benchmark(sys.argv[1] if len(sys.argv) > 1 else "sceneqa")
    write_json(asked.blind, learn(asked).document())
