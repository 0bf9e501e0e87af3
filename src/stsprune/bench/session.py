"""A benchmark run: contestants take turns in rounds; every finished round is kept in a file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from stsprune.atomic import write_json
from stsprune.errors import InvalidArgumentError, StsPruneError
from stsprune.method import find_method
from stsprune.selection.budget import check_budget, measured_budgets

from .contest import ENCODER, FLOOR, LIMIT, UNPRUNED, Contestant, Workload, make_method
from .summary import summarise

RESULTS = "bench.json"
#: Rounds that a time limit does not cut: fewer say nothing about the spread.
LEAST_ROUNDS = 3

Document = dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """What is compared; none of it may change when a run is resumed.

    budgets: visual tokens per decoder layer on average; batches: equal prompts at once; layers:
    decoder layers, None = all; new_tokens: length of an answer, at least 2; settings: of methods
    that are not at their defaults.
    """

    model: str
    device: str
    dtype: str
    attention: str
    layers: int | None
    methods: tuple[str, ...]
    budgets: tuple[int, ...]
    batches: tuple[int, ...]
    new_tokens: int
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        plain = tuple(check_budget(budget, "budgets") for budget in self.budgets)
        object.__setattr__(self, "budgets", plain)

    def as_json(self) -> dict[str, Any]:
        """As it comes back from a file."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        if not self.settings:
            del plain["settings"]  # runs of before there were any go on
        return plain


@dataclass(frozen=True)
class Effort:
    """How long to measure: `rounds` of prefills, in the first `answers` of them whole answers.

    minutes: no round begins after them, once there are three; shared out evenly over the batches.
    """

    rounds: int
    answers: int
    minutes: float | None = None


def check_names(names: tuple[str, ...]) -> None:
    """Raises InvalidArgumentError for unknown or repeated methods."""
    for name in names:
        find_method(name.removesuffix(ENCODER), rule="methods must be of")
    _check_different("methods", names)


def check_budgets(budgets: tuple[int, ...], tokens: int) -> None:
    """Raises InvalidArgumentError for repeated budgets and those outside of 1..`tokens`."""
    measured_budgets(budgets, tokens, "budgets")
    _check_different("budgets", budgets)


def check_batches(batches: tuple[int, ...]) -> None:
    """Raises InvalidArgumentError for repeated batches and those below 1."""
    for batch in batches:
        if batch < 1:
            raise InvalidArgumentError(f"batch must be at least 1, got {batch}")
    _check_different("batch", batches)


def _check_different(name: str, values: tuple[Any, ...]) -> None:
    if not values or len(set(values)) < len(values):
        listed = ", ".join(map(str, values))
        raise InvalidArgumentError(f"{name} must list different values, got {listed!r}")


def open_folder(folder: Path, setup: Comparison, machine: dict[str, Any], resume: bool) -> Document:
    """A new document, or with `resume` the one in `folder`.

    Raises InvalidArgumentError where the folder holds a run and `resume` is False, or a run of
    another setup or machine: times of the two would not compare.
    """
    fresh: Document = {"setup": setup.as_json(), "machine": machine, "groups": []}
    path = folder / RESULTS
    if folder.exists() and not folder.is_dir():
        raise InvalidArgumentError(f"out must be a folder, got the file {str(folder)!r}")
    if not path.exists():
        return fresh
    if not resume:
        raise InvalidArgumentError(
            f"out must be a new folder: {str(folder)!r} holds a run; --resume goes on with it"
        )
    document = read(path)
    for part in ("setup", "machine"):
        theirs = document[part]
        for name, value in fresh[part].items():
            if theirs.get(name) != value:
                raise InvalidArgumentError(
                    f"out must hold a run like this one to be resumed: {str(folder)!r} has "
                    f"{name}={theirs.get(name)!r}, this is {name}={value!r}"
                )
    return document


def read(path: Path) -> Document:
    """A run's file. Raises InvalidArgumentError for anything else."""
    try:
        document: Document = json.loads(path.read_text())
        document.pop("summary", None)  # made anew from what was measured
        whole = {"setup", "machine", "groups"} <= document.keys()
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InvalidArgumentError(f"out holds a broken file {str(path)!r}: delete it") from error
    if not whole:
        raise InvalidArgumentError(f"out holds {str(path)!r}, which is no benchmark: delete it")
    return document


def measure(
    document: Document,
    model: Any,
    setup: Comparison,
    effort: Effort,
    save: Callable[[], object],
    advance: Callable[[int], object] = lambda n: None,
) -> None:
    """Fill the document's groups, one per batch; `save` after every round and when interrupted.

    advance: called with the number of measurements that are done or will not be made.
    """
    start = time.monotonic()
    for number, batch in enumerate(setup.batches):
        workload = Workload.of(model, batch, setup.new_tokens)
        check_budgets(setup.budgets, workload.tokens)
        group = _group(document, batch, workload)
        share = (number + 1) / len(setup.batches)
        until = None if effort.minutes is None else start + 60 * effort.minutes * share
        with _saved(save), torch.inference_mode():
            _rounds(group, workload, setup, effort, until, save, advance)


def measurements(setup: Comparison, effort: Effort) -> int:
    """How many prefills will be timed, at most."""
    return len(_entries(setup)) * effort.rounds * len(setup.batches)


def _entries(setup: Comparison) -> list[tuple[str, int | None]]:
    """(name, budget) of everybody, the unpruned model first."""
    names = [FLOOR, *setup.methods, LIMIT]
    return [(UNPRUNED, None), *((name, budget) for budget in setup.budgets for name in names)]


def _group(document: Document, batch: int, workload: Workload) -> dict[str, Any]:
    for group in document["groups"]:
        if group["batch"] == batch:
            return group
    group = {"batch": batch, "tokens": workload.tokens, "contestants": [], "refused": []}
    document["groups"].append(group)
    return group


def _rounds(
    group: dict[str, Any],
    workload: Workload,
    setup: Comparison,
    effort: Effort,
    until: float | None,
    save: Callable[[], object],
    advance: Callable[[int], object],
) -> None:
    runners = []
    for name, budget in _entries(setup):
        runner = _warm(group, workload, name, budget, setup.settings.get(name, {}))
        if runner is None:
            advance(effort.rounds)
            continue
        runners.append(runner)
        advance(min(len(runner[1]), effort.rounds))
    for number in range(effort.rounds):
        late = until is not None and time.monotonic() > until
        if late and number >= LEAST_ROUNDS:
            advance((effort.rounds - number) * len(runners))
            break
        # Every other round backwards, so that nobody always runs behind the same neighbour.
        for contestant, rows in runners[:: 1 - 2 * (number % 2)]:
            if len(rows) <= number:
                row = contestant.run(answer=number < effort.answers)
                rows.append({key: round(value, 4) for key, value in row.items()})
                advance(1)
        save()


def _warm(
    group: dict[str, Any],
    workload: Workload,
    name: str,
    budget: int | None,
    settings: dict[str, Any],
) -> tuple[Contestant, list[dict[str, float]]] | None:
    """A contestant that has run twice, and its rows in the group; None where it cannot take part.

    The reason is noted: a budget out of a method's reach, a model without what it reads, memory.
    """
    refused = group["refused"]
    if any((cell["name"], cell["budget"]) == (name, budget) for cell in refused):
        return None
    try:
        made = None
        if name not in (UNPRUNED, FLOOR, LIMIT) and budget is not None:
            made = make_method(name, budget, settings)
        contestant = Contestant(name, workload, workload.tokens if budget is None else budget, made)
        contestant.warm()
        contestant.run(answer=False)
    except StsPruneError as error:
        refused.append({"name": name, "budget": budget, "reason": str(error)})
        return None
    except torch.OutOfMemoryError:
        refused.append({"name": name, "budget": budget, "reason": "out of memory"})
        return None
    for entry in group["contestants"]:
        if (entry["name"], entry["budget"]) == (name, budget):
            return contestant, entry["rounds"]
    entry = {"name": name, "budget": budget, "facts": contestant.facts(), "rounds": []}
    group["contestants"].append(entry)
    return contestant, entry["rounds"]


@contextmanager
def _saved(save: Callable[[], object]) -> Iterator[None]:
    try:
        yield
    finally:
        save()


def write(folder: Path, document: Document) -> None:
    """Put the document and its summary into the folder, whole or not at all."""
    write_json(folder / RESULTS, {"summary": summarise(document)} | document)
