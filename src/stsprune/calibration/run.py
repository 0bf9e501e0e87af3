"""`calibrate`: from a model and prompts to a method that answers as the unpruned model does."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from stsprune.errors import InvalidArgumentError, InvalidTypeError

from ..atomic import write_json
from ..engine import prune
from ..engine.families import family_of
from ..engine.unwrap import unwrap
from ..method import Method, find_method
from ..recipes import Recipe, versions, weights_hash
from .changed import SHOWN, look, worst_first
from .choose import HELD_OUT, SEARCH, choose
from .costs import TIMED, measure_costs
from .inputs import check_words, split
from .measure import Measurer, depth_of, is_right
from .prompts import Prompt, check_prompts, digest
from .result import Agreement, Calibration, Point, with_cost

SETUP = "setup.json"


def check_target(target: Any) -> float:
    """A share in (0, 1]. Raises InvalidArgumentError or InvalidTypeError."""
    if isinstance(target, bool) or not isinstance(target, int | float):
        raise InvalidTypeError(f"target must be a number in (0, 1], got {target!r}")
    if not 0 < target <= 1:
        raise InvalidArgumentError(
            f"target must be in (0, 1], a share of answers that stay, got {target:g}"
        )
    return float(target)


def calibrate(
    model: Any,
    processor: Any,
    prompts: Sequence[Prompt | Mapping[str, Any]],
    *,
    target: float = 0.98,
    method: str = "sts",
    settings: Mapping[str, Any] | None = None,
    search: bool = False,
    positions: str = "original",
    family: str | None = None,
    batch: int = 8,
    max_new_tokens: int = 64,
    seed: int = 0,
    out: Path | None = None,
    name: str = "",
    data: str = "prompts",
    begin: Callable[[str, int], object] = lambda text, work: None,
    advance: Callable[[int], object] = lambda n: None,
) -> Calibration:
    """The smallest budget whose answers are the unpruned model's for a share `target` of prompts.

        found = stsprune.calibrate(model, processor, prompts, target=0.98)
        with stsprune.prune(model, found.method): ...

    No labels are needed: answers are compared with the unpruned model's own greedy ones. One half
    of the prompts is searched, the other one verifies; a choice that it does not bear out goes up.

    Args:
        model: Of transformers, as `prune` takes it.
        processor: The model's own.
        prompts: At least 40 `Prompt`s or mappings (`images`, `question`, also `answer`, `kind`).
        target: Share of answers that must stay, in (0, 1].
        method: Name of the method whose budget is searched.
        settings: Its other settings.
        search: Search those too.
        positions: As for `prune`.
        family: As for `prune`.
        batch: Prompts that run together.
        max_new_tokens: Of an answer.
        seed: Of the halves.
        out: A folder that keeps what is measured, from which the same call goes on.
        name: What the recipe calls the model.
        data: What the recipe calls the prompts.
        begin: Called before each part with its name and the number of steps in it.
        advance: Called with the steps done since the last call.

    Returns:
        The method found, the curve of all budgets tried and how the choice did when verified.

    Raises:
        InvalidArgumentError: Before any prompt runs; also where not even a budget of all tokens
            meets the target.
        InvalidTypeError: Before any prompt runs; besides, what `prune` raises.
    """
    target = check_target(target)
    asked = check_prompts(prompts)
    for label, value in (("batch", batch), ("max_new_tokens", max_new_tokens)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InvalidArgumentError(f"{label} must be an int >= 1, got {value!r}")
    given = dict(settings or {})
    whole = find_method(method)(1.0, **given)
    halves = split(asked, seed)
    check_words(processor, asked)
    bare = unwrap(model)
    adapter = family_of(bare, family)
    # Its checks: family, positions, masks.
    with prune(model, whole, positions=positions, family=family):
        pass
    weights, depth = weights_hash(bare), depth_of(bare)
    data_hash = digest(asked)
    setup = {
        "data": data_hash,
        "weights": weights,
        "method": repr(whole),
        "positions": positions,
        "family": family,
        "batch": batch,
        "max_new_tokens": max_new_tokens,
        "seed": seed,
        "dtype": str(bare.dtype),
        "versions": versions(),
    }
    if out is not None:
        open_folder(out, setup, data)
    measurer = Measurer(
        bare, processor, asked, halves, batch, max_new_tokens, positions, out, advance, family
    )
    choice = choose(
        measurer,
        method,
        given,
        target,
        depth,
        adapter.tokens(bare),
        search,
        lambda text, half, methods: begin(text, measurer.work(half, methods)),
    )
    points = {
        repr(candidate): _point(measurer, asked, halves, candidate)
        for candidate in [*choice.line.steps, *choice.tried, *choice.refuted]
        if not measurer.work(SEARCH, [candidate])
    }
    curve = [
        points[repr(candidate)] for candidate in choice.line.steps if repr(candidate) in points
    ]
    begin("time and memory", (1 + len(curve)) * min(TIMED, len(halves[HELD_OUT])))
    timed = [asked[number] for number in halves[HELD_OUT]]
    unpruned, costs = measure_costs(
        bare, processor, timed, [point.method for point in curve], positions, advance, family
    )
    curve = [with_cost(point, cost) for point, cost in zip(curve, costs, strict=True)]
    # By name: a budget of 1 (token) equals one of 1.0 (everything) as a number.
    chosen = next(point for point in curve if repr(point.method) == repr(choice.method))
    outcomes = [
        outcome
        for half in (SEARCH, HELD_OUT)
        for outcome in measurer.measure(half, [chosen.method])[0]
    ]
    texts = [text for half in (SEARCH, HELD_OUT) for text in measurer.answers(half)]
    order = [number for half in halves for number in half]
    worst = worst_first(outcomes)
    begin("changed answers", len(worst[:SHOWN]))
    changed = []
    for place in worst[:SHOWN]:
        changed.append(
            look(
                bare,
                processor,
                asked[order[place]],
                chosen.method,
                outcomes[place],
                texts[place],
                max_new_tokens,
                positions,
                family,
            )
        )
        advance(1)
    labels = [
        is_right(text, wanted)
        for text, wanted in zip(texts, (asked[n].answer for n in order), strict=True)
        if wanted is not None
    ]
    assert chosen.held_out is not None
    assert chosen.cost is not None
    recipe = Recipe(
        method=chosen.method,
        architecture=type(bare).__name__,
        weights=weights,
        positions=positions,
        versions=versions(),
        name=name,
        facts={
            "target": target,
            "data": {"name": data, "sha256": data_hash, "prompts": len(asked)},
            "measured": {
                "held_out": asdict(chosen.held_out),
                "search": asdict(chosen.search),
                "steps_up": len(choice.refuted),
                "dtype": str(bare.dtype).removeprefix("torch."),
                "max_new_tokens": max_new_tokens,
            },
            "cost": asdict(chosen.cost),
        },
    )
    found = Calibration(
        target=target,
        method=chosen.method,
        chosen=chosen,
        curve=tuple(curve),
        tried=tuple(points[repr(candidate)] for candidate in choice.tried),
        refuted=tuple(points[repr(candidate)] for candidate in choice.refuted),
        unpruned=unpruned,
        accuracy=fmean(labels) if labels else None,
        changed=tuple(changed),
        changed_count=len(worst),
        recipe=recipe,
    )
    if out is not None:
        found.save(out)
    return found


def open_folder(folder: Path, setup: Mapping[str, Any], data: str = "prompts") -> None:
    """Begin or resume a run. Raises InvalidArgumentError for a folder of another one."""
    header = folder / SETUP
    if folder.exists() and not folder.is_dir():
        raise InvalidArgumentError(f"out must be a folder, got the file {str(folder)!r}")
    if not header.exists():
        if (folder / "measured").exists():
            raise InvalidArgumentError(f"out must be an empty folder: {str(header)!r} is missing")
        write_json(header, setup)
        return
    try:
        theirs = dict(json.loads(header.read_text()))
    except (ValueError, TypeError):
        raise InvalidArgumentError(
            f"out holds a broken file {str(header)!r}: delete the folder or choose another one"
        ) from None
    for key, value in setup.items():
        if theirs.get(key) != value:
            what = f"{data} has changed since" if key == "data" else f"another {key}"
            raise InvalidArgumentError(
                f"out must be an empty folder or one of the same run: {str(folder)!r} holds "
                f"results of other settings ({what}); choose another folder or delete it"
            )


def _point(
    measurer: Measurer, prompts: Sequence[Prompt], halves: Sequence[Sequence[int]], method: Method
) -> Point:
    seen = [measurer.measure(SEARCH, [method])[0]]
    if not measurer.work(HELD_OUT, [method]):
        seen.append(measurer.measure(HELD_OUT, [method])[0])
    kinds: dict[str, list[Any]] = {}
    for half, outcomes in zip(halves, seen, strict=False):
        for number, outcome in zip(half, outcomes, strict=True):
            kind = prompts[number].kind
            if kind is not None:
                kinds.setdefault(kind, []).append(outcome)
    return Point(
        method,
        Agreement.of(seen[SEARCH]),
        Agreement.of(seen[HELD_OUT]) if len(seen) > 1 else None,
        {name: Agreement.of(mine) for name, mine in sorted(kinds.items())},
    )
