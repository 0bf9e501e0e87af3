"""The question sets that an evaluation can run, each with the embedded model that knows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stsprune.errors import InvalidArgumentError

from ..embedded import questions, scenes, text
from ..embedded.load import embedded_folder
from ..embedded.sceneqa2 import questions as questions2
from ..embedded.sceneqa2 import scenes as scenes2
from ..embedded.sceneqa2 import text as text2
from ..embedded.sceneqa2.data import LONGEST_ANSWER


@dataclass(frozen=True)
class Benchmark:
    """A question set.

    size: of the embedded model, see `load_embedded`; draw: (split, index, grid) -> scene; ask:
    (scene, per family) -> questions; short: families whose answers are one token; longest: tokens
    of the longest answer; budgets: what `stsprune eval` compares methods at; tuned: settings
    chosen on its validation split; blind: what the blind baseline learnt.
    """

    name: str
    size: str
    grid: int
    families: tuple[str, ...]
    short: frozenset[str]
    longest: int
    budgets: str
    draw: Callable[[str, int, int], Any]
    ask: Callable[[Any, int], Sequence[questions.Question]]
    words: Callable[[], list[str]]
    tuned: Path
    blind: Path

    def folder(self) -> Path:
        """Its model's weights."""
        return embedded_folder(self.size)

    def tokenizer(self) -> Any:
        """Its model's tokenizer."""
        return text.build_tokenizer(self.words())


_HERE = Path(__file__).parent
BENCHMARKS = {
    "sceneqa": Benchmark(
        name="sceneqa",
        size="small",
        grid=12,
        families=questions.FAMILIES,
        short=frozenset(questions.FAMILIES),
        longest=1,
        budgets="48,32,16,8",
        draw=scenes.scene,
        ask=questions.questions,
        words=text.vocabulary,
        tuned=_HERE / "tuned.json",
        blind=_HERE / "blind.json",
    ),
    "sceneqa2": Benchmark(
        name="sceneqa2",
        size="large",
        grid=scenes2.GRID,
        families=questions2.FAMILIES,
        short=frozenset(questions2.ANSWERS),
        longest=LONGEST_ANSWER,
        budgets="192,128,64,32",
        draw=scenes2.scene,
        ask=questions2.questions,
        words=text2.vocabulary,
        tuned=_HERE / "tuned_sceneqa2.json",
        blind=_HERE / "blind_sceneqa2.json",
    ),
}


def find_benchmark(name: str) -> Benchmark:
    """Raises InvalidArgumentError for an unknown name."""
    if name not in BENCHMARKS:
        known = ", ".join(BENCHMARKS)
        raise InvalidArgumentError(f"benchmark must be one of {known}, got {name!r}")
    return BENCHMARKS[name]
