"""What an evaluation runs: methods at budgets, with seeds where a method draws at random."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stsprune.errors import InvalidArgumentError
from stsprune.selection.budget import measured_budgets

from ..method import Method, find_method
from .benchmarks import find_benchmark

UNPRUNED = "unpruned"


@dataclass(frozen=True)
class Job:
    """One method at one budget (visual tokens per layer); `key` names it in files."""

    name: str
    budget: int | None
    method: Method | None
    seed: int | None = None

    @property
    def key(self) -> str:
        """For example "sts@16" or "random@16#2"."""
        if self.budget is None:
            return self.name
        return f"{self.name}@{self.budget}" + ("" if self.seed is None else f"#{self.seed}")

    @property
    def stored(self) -> str:
        """Names the record in a run's folder: the method with every setting."""
        return UNPRUNED if self.method is None else repr(self.method)

    @staticmethod
    def unpruned() -> Job:
        """The model as it is."""
        return Job(UNPRUNED, None, None)


@dataclass(frozen=True)
class Refused:
    """A budget that a method cannot reach on this model, and why."""

    name: str
    budget: int
    reason: str


def tuned_settings(benchmark: str = "sceneqa") -> dict[str, dict[str, Any]]:
    """Method name -> settings that were chosen on the validation split (`stsprune tune`)."""
    file = find_benchmark(benchmark).tuned
    if not file.exists():
        return {}
    chosen: dict[str, dict[str, Any]] = json.loads(file.read_text())["chosen"]
    return chosen


def make_jobs(
    names: Sequence[str],
    budgets: Sequence[int],
    tokens: int,
    depth: int,
    seeds: int = 1,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[list[Job], list[Refused]]:
    """Every method at every budget, the unpruned model first.

    Raises InvalidArgumentError for an unknown name, a repeated one or a budget above `tokens`.
    """
    known = {name: find_method(name) for name in names}
    budgets = measured_budgets(budgets, tokens)
    for label, values in (("method", list(names)), ("budget", list(budgets))):
        if not values or len(set(values)) < len(values):
            raise InvalidArgumentError(f"{label} must list different values, got {values}")
    jobs, refused = [Job.unpruned()], []
    for name in names:
        chosen = dict((settings or {}).get(name, {}))
        for budget in budgets:
            try:
                made = known[name](budget, **chosen)
                made.plan(tokens, depth)
            except InvalidArgumentError as error:
                refused.append(Refused(name, budget, str(error)))
                continue
            if not made.draws:
                jobs.append(Job(name, budget, made))
                continue
            for seed in range(seeds):
                jobs.append(Job(name, budget, known[name](budget, **chosen | {"seed": seed}), seed))
    return jobs, refused
