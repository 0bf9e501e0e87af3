"""Choosing settings on the validation split: one search, the same for every method.

A method's steps (`Method.search`) are walked in order; each is a grid over some settings with the
others held at the best so far, so that a search over six settings stays at some ten trials each.
The score is the mean accuracy over the budgets; a setting that reaches fewer budgets loses to one
that reaches more.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from ..method import methods
from .jobs import Job, make_jobs
from .runner import Setup, read_shard, run, shard_path
from .sceneqa import Item, load_items

MethodSettings = dict[str, Any]
#: Accuracy that a setting must gain over the default: two of the 801 questions at every budget.
MARGIN = 0.0025


@dataclass(frozen=True)
class Trial:
    """One setting of a method: accuracy per budget that it reaches, and how many others it beat."""

    name: str
    settings: MethodSettings
    accuracy: dict[int, float]

    @property
    def score(self) -> tuple[int, float]:
        """More budgets first, then the mean accuracy over them."""
        return len(self.accuracy), fmean(self.accuracy.values()) if self.accuracy else 0.0


def search(
    folder: Path,
    setup: Setup,
    names: Sequence[str],
    budgets: Sequence[int],
    shape: tuple[int, int],
    processes: int = 1,
    begin: Callable[[int, int], object] = lambda round_, work: None,
    advance: Callable[[int], object] = lambda n: None,
) -> dict[str, list[Trial]]:
    """Walk all methods' steps side by side; a method's trials in order, its default first.

    folder: an opened run, see `runner.open_folder`; trials that it holds are not run again.
    shape: (visual tokens, decoder layers) of the model. begin: called before each round with its
    number and the jobs in it; advance: see `runner.run`.
    The choice is `best_trial`'s.
    """
    trials: dict[str, list[Trial]] = {name: [] for name in names}
    for number in range(rounds(names)):
        fresh: list[tuple[str, MethodSettings, list[Job]]] = []
        for name in names:
            known = [_full(name, trial.settings) for trial in trials[name]]
            for settings in _round(name, number, trials[name]):
                if _full(name, settings) not in known:
                    known.append(_full(name, settings))
                    jobs, _ = make_jobs([name], budgets, *shape, 1, {name: settings})
                    fresh.append((name, settings, jobs[1:]))
        everything = [Job.unpruned(), *(job for _, _, jobs in fresh for job in jobs)]
        begin(number, len(everything))
        run(folder, setup, everything, processes, advance)
        scores = accuracies(folder, setup, everything)
        for name, settings, jobs in fresh:
            accuracy = {job.budget: scores[job.stored] for job in jobs if job.budget is not None}
            trials[name].append(Trial(name, settings, accuracy))
    return trials


def best_trial(trials: Sequence[Trial]) -> Trial:
    """The highest score, the earlier of two equal ones; the first trial unless beaten by `MARGIN`.

    Defaults are published settings or, for STS, what users get: noise is no reason to leave them.
    """
    first, best = trials[0], max(trials, key=lambda trial: trial.score)
    clear = best.score[0] > first.score[0] or best.score[1] >= first.score[1] + MARGIN
    return best if clear else first


def rounds(names: Sequence[str]) -> int:
    """How many rounds `search` walks: the defaults, then the longest list of steps."""
    known = methods()
    return 1 + max((len(known[name].search) for name in names), default=0)


def _round(name: str, number: int, trials: Sequence[Trial]) -> list[MethodSettings]:
    if number == 0:
        return [{}]
    steps = methods()[name].search
    if number > len(steps):
        return []
    best, step = best_trial(trials).settings, steps[number - 1]
    return [
        {**best, **dict(zip(step, values, strict=True))}
        for values in itertools.product(*step.values())
    ]


def _full(name: str, settings: MethodSettings) -> Any:
    return methods()[name](1, **settings)


def _items(setup: Setup, first: int, count: int) -> list[Item]:
    return load_items(setup.split, count, start=first, benchmark=setup.benchmark)


def accuracies(folder: Path, setup: Setup, jobs: Sequence[Job]) -> dict[str, float]:
    """Accuracy by `Job.stored`."""
    right: dict[str, list[bool]] = {job.stored: [] for job in jobs}
    for first, count in setup.shards():
        records = read_shard(shard_path(folder, first, count))
        wanted = [item.question.answer for item in _items(setup, first, count)]
        for job in jobs:
            given = records[job.stored]["answer"]
            right[job.stored] += [a == b for a, b in zip(given, wanted, strict=True)]
    return {stored: fmean(marks) for stored, marks in right.items()}
