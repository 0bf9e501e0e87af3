"""How well `stsprune calibrate` keeps its promise on prompts that it has not seen.

    python benchmarks/calibration.py --out docs/data/calibration.json

Every budget answers a pool of SceneQA questions once (validation split, embedded model; the folder
keeps what is measured). Then, seed by seed: 400 prompts are drawn picture by picture and calibrated
by the real search, and 1,000 others tell what the choice does on fresh prompts. "smallest" is the
smallest budget of the ladder that would do, found by trying all of them: from it on every budget
meets the target over the whole pool; "smallest_here" is the same for a seed's own 400 prompts.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from PIL import Image
from rich.progress import Progress

import stsprune
from stsprune.atomic import write_json
from stsprune.calibration.choose import choose, share
from stsprune.calibration.inputs import split
from stsprune.calibration.lines import ladder
from stsprune.calibration.measure import Measurer, Outcome, depth_of
from stsprune.calibration.prompts import Prompt
from stsprune.evaluation import load_items

TOKENS = 144
TARGETS = (0.99, 0.97, 0.95)


class Drawn:
    """Some of a pool's prompts, as `choose` asks for them."""

    def __init__(self, pool: Pool, halves: Sequence[Sequence[int]]) -> None:
        self.pool, self.halves = pool, halves

    def measure(self, half: int, methods: Sequence[Any]) -> list[list[Outcome]]:
        return [[self.pool[str(one.budget)][n] for n in self.halves[half]] for one in methods]

    def visual_tokens(self) -> list[int]:
        return [TOKENS]


#: Outcomes of all prompts by budget, as text: 1 is one token, 1.0 is everything.
Pool = dict[str, list[Outcome]]


def measure_pool(folder: Path, scenes: int, low: int, high: int) -> tuple[Pool, list[Prompt], int]:
    """Outcomes at every budget of low .. high; a larger one keeps all answers, a smaller none."""
    model, processor = stsprune.load_embedded()
    pictures: dict[int, Any] = {}
    prompts = [
        Prompt(
            item.question.text,
            (pictures.setdefault(item.scene.index, Image.fromarray(item.scene.image)),),
            kind=item.question.family,
        )
        for item in load_items("validation", scenes)
    ]
    budgets = [one for one in reversed(ladder(TOKENS)) if one == 1.0 or low <= one <= high]
    methods = [stsprune.STS(one) for one in budgets]
    with Progress() as bar:
        measurer = Measurer(model, processor, prompts, [range(len(prompts))], 16, 8, folder=folder)
        task = bar.add_task("pool", total=measurer.work(0, methods))
        measurer.advance = lambda count: bar.advance(task, count)
        outcomes = measurer.measure(0, methods)
    pool: Pool = dict(zip(map(str, budgets), outcomes, strict=True))
    for one in ladder(TOKENS):
        if str(one) not in pool:
            kept = one > high
            pool[str(one)] = [Outcome(kept, float(kept), 0.0)] * len(prompts)
    return pool, prompts, depth_of(model)


def smallest_that_does(
    pool: Pool,
    ordered: Sequence[int | float],
    target: float,
    groups: Sequence[Sequence[int]] | None = None,
) -> int:
    """The first budget from which on all meet the target in every group of prompts."""
    least = ordered[-1]
    for one in reversed(ordered):
        mine = pool[str(one)]
        parts = [mine] if groups is None else [[mine[n] for n in group] for group in groups]
        if min(map(share, parts)) < target:
            break
        least = one
    return TOKENS if least == ordered[-1] else int(least)


def draw(prompts: Sequence[Prompt], seed: int, sizes: Sequence[int]) -> list[list[int]]:
    """Numbers of prompts, picture by picture, at least `sizes` of them each time, cut to it."""
    groups: dict[str, list[int]] = {}
    for number, prompt in enumerate(prompts):
        groups.setdefault(prompt.label(), []).append(number)
    order = list(groups.values())
    random.Random(seed).shuffle(order)
    drawn, rest = [], iter(order)
    for size in sizes:
        mine: list[int] = []
        while len(mine) < size:
            mine += next(rest)
        drawn.append(mine[:size])
    return drawn


def main() -> None:
    """See the module."""
    reading = argparse.ArgumentParser(description=__doc__)
    reading.add_argument("--out", type=Path, required=True)
    reading.add_argument("--pool", type=Path, default=Path("stsprune-calibration-pool"))
    reading.add_argument("--scenes", type=int, default=200)
    reading.add_argument("--low", type=int, default=8, help="smallest budget that is measured")
    reading.add_argument("--high", type=int, default=106, help="largest one below everything")
    reading.add_argument("--seeds", type=int, default=20)
    reading.add_argument("--prompts", type=int, default=400)
    reading.add_argument("--fresh", type=int, default=1000)
    given = reading.parse_args()
    pool, prompts, depth = measure_pool(given.pool, given.scenes, given.low, given.high)
    ordered = ladder(TOKENS)
    rows = []
    for target in TARGETS:
        least = smallest_that_does(pool, ordered, target)
        runs = []
        for seed in range(given.seeds):
            mine, fresh = draw(prompts, seed, (given.prompts, given.fresh))
            halves = [[mine[n] for n in half] for half in split([prompts[n] for n in mine], seed)]
            choice = choose(Drawn(pool, halves), "sts", {}, target, depth, TOKENS)
            budget = choice.method.budget
            seen = [pool[str(budget)][n] for n in fresh]
            runs.append(
                {
                    "seed": seed,
                    "budget": TOKENS if budget == 1.0 else budget,
                    "smallest_here": smallest_that_does(pool, ordered, target, halves),
                    "steps_up": len(choice.refuted),
                    "held_out": share([pool[str(budget)][n] for n in halves[1]]),
                    "fresh": share(seen),
                }
            )
        row = {
            "target": target,
            "smallest": least,
            "within_a_point": sum(run["fresh"] >= target - 0.01 for run in runs),
            "at_target": sum(run["fresh"] >= target for run in runs),
            "most_over_smallest_here": max(run["budget"] / run["smallest_here"] for run in runs)
            - 1,
            "within_a_quarter": sum(run["budget"] <= 1.25 * least for run in runs),
            "median_budget": median(run["budget"] for run in runs),
            "over_smallest_here": fmean(run["budget"] / run["smallest_here"] for run in runs) - 1,
            "mean_budget": fmean(run["budget"] for run in runs),
            "over_smallest": fmean(run["budget"] for run in runs) / least - 1,
            "most_over_smallest": max(run["budget"] for run in runs) / least - 1,
            "runs": runs,
        }
        rows.append(row)
        print({key: value for key, value in row.items() if key != "runs"})
    write_json(
        given.out,
        {
            "command": "python benchmarks/calibration.py --out docs/data/calibration.json",
            "prompts_in_pool": len(prompts),
            "agreement": {
                str(one): round(share(pool[str(one)]), 5)
                for one in ordered
                if one == 1.0 or given.low <= one <= given.high
            },
            "targets": rows,
        },
    )


if __name__ == "__main__":
    main()
