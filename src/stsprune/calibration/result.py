"""What a calibration gives: the curve, the choice, and how sure it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from ..atomic import write_json, write_text
from ..method import Method
from ..recipes import Recipe, method_name, settings_of
from .changed import Changed
from .costs import Cost
from .interval import exact_interval
from .measure import Outcome


@dataclass(frozen=True)
class Agreement:
    """Some prompts under one method.

    Attributes:
        prompts: How many.
        same: Share of equal greedy answers.
        low: Of its exact 95 % interval.
        high: Of the same.
        tokens: Share of the unpruned answers' tokens, mean over prompts.
        kl: Mean KL divergence, nats.
        visual: Visual tokens per decoder layer and picture.
        accuracy: Share of right answers, None without labels.
    """

    prompts: int
    same: float
    low: float
    high: float
    tokens: float
    kl: float
    visual: float
    accuracy: float | None = None

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> Agreement:
        """Over at least one prompt."""
        hits = sum(outcome.same for outcome in outcomes)
        low, high = exact_interval(hits, len(outcomes))
        right = [outcome.right for outcome in outcomes if outcome.right is not None]
        return cls(
            len(outcomes),
            hits / len(outcomes),
            low,
            high,
            fmean(outcome.tokens for outcome in outcomes),
            fmean(outcome.kl for outcome in outcomes),
            fmean(outcome.visual for outcome in outcomes),
            fmean(right) if right else None,
        )


@dataclass(frozen=True)
class Point:
    """A method that was measured.

    Attributes:
        method: With all its settings.
        search: On the half that the search looks at.
        held_out: On the other half, None where nobody looked.
        kinds: Per kind of prompt, over all that was measured.
        cost: None where not timed.
    """

    method: Method
    search: Agreement
    held_out: Agreement | None = None
    kinds: Mapping[str, Agreement] | None = None
    cost: Cost | None = None


@dataclass(frozen=True)
class Calibration:
    """The result of `stsprune.calibrate`.

    Attributes:
        target: Share of answers that must stay.
        method: The choice, for `stsprune.prune`.
        chosen: What was measured of it.
        curve: The choice's line from few tokens to all; the last one prunes nothing.
        tried: The smallest that held of every other setting (`search`).
        refuted: Steps that held on the search half and not on the other one.
        unpruned: Its cost.
        accuracy: Of the unpruned answers, None without labels.
        changed: Worst first, of `changed_count` over both halves.
        changed_count: Answers that changed.
        recipe: What `save` writes for every command.
    """

    target: float
    method: Method
    chosen: Point
    curve: tuple[Point, ...]
    tried: tuple[Point, ...]
    refuted: tuple[Point, ...]
    unpruned: Cost
    accuracy: float | None
    changed: tuple[Changed, ...]
    changed_count: int
    recipe: Recipe

    def document(self) -> dict[str, Any]:
        """All of it but pictures, as JSON takes it."""
        return {
            **self.recipe.document(),
            "chosen": point_document(self.chosen),
            "curve": [point_document(point) for point in self.curve],
            "tried": [point_document(point) for point in self.tried],
            "refuted": [point_document(point) for point in self.refuted],
            "unpruned": asdict(self.unpruned) | {"accuracy": self.accuracy},
            "changed": [
                {key: value for key, value in vars(change).items() if key != "pictures"}
                for change in self.changed
            ],
            "changed_count": self.changed_count,
        }

    def save(self, folder: Path) -> None:
        """Write recipe.json, calibration.json (everything measured) and report.html."""
        from ..viz.calibrated import calibration_page

        page = calibration_page(self.document(), self.changed)
        write_text(folder / "report.html", page)
        write_json(folder / "calibration.json", self.document())
        write_json(folder / "recipe.json", self.recipe.document())


def spelt(method: Method) -> str:
    """What a method keeps, in a word: "16", or "potential 6.4" where it follows the picture."""
    if method.adapts:
        return f"potential {settings_of(method)['potential']:g}"
    return str(method.budget)


def point_document(point: Point) -> dict[str, Any]:
    """A point as JSON takes it."""
    return {
        "method": method_name(point.method),
        "settings": settings_of(point.method),
        "budget": point.method.budget,
        "label": spelt(point.method),
        "search": asdict(point.search),
        "held_out": None if point.held_out is None else asdict(point.held_out),
        "kinds": {name: asdict(agreement) for name, agreement in (point.kinds or {}).items()},
        "cost": None if point.cost is None else asdict(point.cost),
    }


def with_cost(point: Point, cost: Cost) -> Point:
    """The point, timed."""
    return replace(point, cost=cost)
