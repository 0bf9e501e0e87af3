"""Prompts to begin with: what the families of questions ask, at budgets where methods differ.

They name scenes and families, never an outcome: the page measures that each time.
"""

from __future__ import annotations

from dataclasses import dataclass

from .picture import Picture, drawn


@dataclass(frozen=True)
class Example:
    """share: the budget over the picture's visual tokens; other: the method beside."""

    title: str
    scene: int
    family: str
    method: str
    other: str
    share: float

    def picture(self, grid: int) -> Picture:
        """Its scene."""
        return drawn(self.scene, grid)

    def question(self, grid: int) -> str:
        """What is asked: of its family, or the scene's first question."""
        from stsprune.embedded.questions import questions
        from stsprune.embedded.scenes import scene

        from .picture import SPLIT

        asked = questions(scene(SPLIT, self.scene, grid))
        return next((one.text for one in asked if one.family == self.family), asked[0].text)


EXAMPLES = (
    Example("A small character", 0, "character", "sts", "attention-only", 1 / 9),
    Example("Counting", 5, "count", "sts", "divprune", 1 / 9),
    Example("A relation, few tokens", 7, "relation", "sts", "tome", 1 / 18),
    Example("Inside the decoder only", 3, "colour", "semantics-only", "fastv", 1 / 3),
    Example("The background", 2, "background", "sts", "visionzip", 1 / 9),
)
