"""What a budget that follows the picture is worth: `STS(potential=mu)` against a fixed budget.

    python benchmarks/adaptive.py --out docs/data/adaptive.json

A mixed set: pictures with 1, 4 and 12 objects in equal parts, drawn as SceneQA draws its scenes,
up to eight questions each; measured is agreement with the unpruned embedded model. On the
validation split the smallest mu and the smallest fixed budget that reach the target are found
(between two measured ones the curve is a straight line); on the test split both are then run, on
the same prompts. Uniform sets are the three parts, and SceneQA's own scenes: there mu is set, on
validation, for the tokens that the fixed budget takes, and what is lost is the difference in
agreement.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from PIL import Image
from rich.progress import Progress

import stsprune
from stsprune.atomic import write_json
from stsprune.calibration.measure import Measurer, Outcome
from stsprune.calibration.prompts import Prompt
from stsprune.embedded import scenes as drawing
from stsprune.embedded.glyphs import GLYPHS
from stsprune.embedded.questions import questions
from stsprune.evaluation import load_items

OBJECTS = (1, 4, 12)
GRID = 12
#: Pixels; twelve of the usual 9.5 to 14 do not fit the picture.
RADII = (8.0, 9.5)
#: The first is the one that was set beforehand.
TARGETS = (0.97, 0.96, 0.95, 0.93)
BUDGETS = (8, 12, 16, 20, 24, 32, 40, 56)
POTENTIALS = (4.5, 5.25, 6.0, 6.5, 7.0, 7.5, 8.5)
#: Away from SceneQA's own scenes.
FIRST = 1_000_000
SCENEQA = "SceneQA"


def mixed_scene(split: str, number: int, objects: int) -> drawing.Scene:
    """A scene with exactly so many objects of `RADII` and one distractor."""
    rng = drawing.scene_rng(split, FIRST + number, 0)
    size = GRID * drawing.PATCH
    texture = drawing.TEXTURES[rng.integers(len(drawing.TEXTURES))]
    ground = drawing.background(rng, texture, size)
    while True:
        taken: list[tuple[float, float, float]] = []
        drawing.place_circle(rng, taken, rng.uniform(13, 16), size)
        for _ in range(20 * objects):
            if len(taken) == objects + 1:
                break
            drawing.place_circle(rng, taken, rng.uniform(*RADII), size)
        pairs = drawing._identities(rng, objects, split)
        if len(taken) == objects + 1 and len(pairs) == objects:
            break
    image = ground.copy()
    glyphs = [GLYPHS[i] for i in rng.permutation(len(GLYPHS))[:objects]]
    (x, y, radius), *rest = taken
    rows, cols, u, v = drawing.window(x, y, radius * 1.15, size)
    outline, paint = drawing.distractor(rng, u / radius, v / radius)
    alpha = np.clip(0.5 - outline * radius, 0, 1)
    image[rows, cols] += alpha[..., None] * (paint - image[rows, cols])
    coverage = [drawing._patch_mean(alpha, rows, cols, GRID)]
    for (colour, shape), glyph, (x, y, radius) in zip(pairs, glyphs, rest, strict=True):
        rows, cols, u, v = drawing.window(x, y, radius * 1.3, size)
        outline = drawing.signed_distance(shape, u / radius, v / radius)
        alpha = np.clip(0.5 - outline * radius, 0, 1)
        paint = np.array(drawing.COLOURS[colour], np.float32) * rng.uniform(0.85, 1.05)
        paint = paint + rng.uniform(-12, 12, 3)
        ink = drawing._glyph(glyph, u / radius, v / radius)[..., None]
        image[rows, cols] += alpha[..., None] * (paint * (1 - ink) + 15 * ink - image[rows, cols])
        coverage.append(drawing._patch_mean(alpha, rows, cols, GRID))
    owner = drawing._owners(np.stack(coverage))
    things = tuple(
        drawing.SceneObject(c, s, g, x, y, r, tuple(np.flatnonzero(owner == i).tolist()))
        for i, ((c, s), g, (x, y, r)) in enumerate(zip(pairs, glyphs, rest, strict=True))
    )
    pixels = np.clip(image, 0, 255).astype(np.uint8)
    return drawing.Scene(pixels, things, texture, owner, GRID, split, FIRST + number)


def prompts_of(split: str, pictures: int) -> list[Prompt]:
    """Questions about so many pictures of each kind; `kind` is the number of objects."""
    asked = []
    for place, objects in enumerate(OBJECTS):
        for number in range(pictures):
            drawn = mixed_scene(split, place * 100_000 + number, objects)
            picture = Image.fromarray(drawn.image)
            for question in questions(drawn):
                asked.append(Prompt(question.text, (picture,), kind=str(objects)))
    shown: dict[int, Any] = {}
    for item in load_items(split, pictures):
        picture = shown.setdefault(item.scene.index, Image.fromarray(item.scene.image))
        question = item.question
        asked.append(Prompt(question.text, (picture,), kind=SCENEQA))
    return asked


class Curve:
    """Outcomes of a line of methods over the same prompts, fewest tokens first."""

    def __init__(self, places: Sequence[float], outcomes: Sequence[Sequence[Outcome]]) -> None:
        self.places, self.outcomes = places, outcomes
        self.tokens = [fmean(o.visual for o in seen) for seen in outcomes]
        self.same = [fmean(o.same for o in seen) for seen in outcomes]

    def of(self, index: Sequence[int]) -> Curve:
        """Over some of the prompts only."""
        return Curve(self.places, [[seen[i] for i in index] for seen in self.outcomes])

    def reaching(self, target: float) -> float | None:
        """The place from which on agreement is at least `target`; None where it stays below."""
        above = [share >= target for share in self.same]
        if not above[-1]:
            return None
        first = len(above) - above[::-1].index(False) if False in above else 0
        if first == 0:
            return self.places[0]
        low, high = self.same[first - 1], self.same[first]
        part = (target - low) / (high - low)
        return self.places[first - 1] + part * (self.places[first] - self.places[first - 1])

    def at(self, place: float) -> tuple[float, float]:
        """(tokens, agreement) between two measured places."""
        return (
            float(np.interp(place, self.places, self.tokens)),
            float(np.interp(place, self.places, self.same)),
        )

    def place_of(self, tokens: float) -> float:
        """The place that takes so many tokens."""
        return float(np.interp(tokens, self.tokens, self.places))

    def rows(self) -> list[dict[str, float]]:
        """As JSON takes it."""
        return [
            {"place": place, "tokens": round(tokens, 3), "agreement": round(same, 5)}
            for place, tokens, same in zip(self.places, self.tokens, self.same, strict=True)
        ]


def measure(
    model: Any, processor: Any, prompts: list[Prompt], folder: Path, settings: dict[str, Any]
) -> tuple[Curve, Curve]:
    """(fixed, adaptive) over all prompts; the folder keeps what is measured."""
    fixed = [stsprune.STS(budget, **settings) for budget in BUDGETS]
    adaptive = [stsprune.STS(1.0, potential=mu, **settings) for mu in POTENTIALS]
    with Progress() as bar:
        measurer = Measurer(model, processor, prompts, [range(len(prompts))], 32, 4, folder=folder)
        methods = [*fixed, *adaptive]
        task = bar.add_task(folder.name, total=measurer.work(0, methods))
        measurer.advance = lambda count: bar.advance(task, count)
        outcomes = measurer.measure(0, methods)
    return Curve(BUDGETS, outcomes[: len(fixed)]), Curve(POTENTIALS, outcomes[len(fixed) :])


def saved_interval(
    fixed: Curve, adaptive: Curve, pictures: Sequence[int], target: float
) -> list[float]:
    """95 % bootstrap interval over pictures of the share of tokens saved at equal agreement.

    Both curves are drawn anew with the same pictures and read where they reach the target.
    """
    rng = np.random.default_rng(0)
    names = np.array(pictures)
    groups = [np.flatnonzero(names == name) for name in np.unique(names)]
    both = (fixed, adaptive)
    same = [np.array([[o.same for o in seen] for seen in c.outcomes], float) for c in both]
    used = [np.array([[o.visual for o in seen] for seen in c.outcomes]) for c in both]
    savings = []
    for _ in range(500):
        index = np.concatenate([groups[i] for i in rng.integers(len(groups), size=len(groups))])
        needed = []
        for agreement, tokens in zip(same, used, strict=True):
            shares = np.maximum.accumulate(agreement[:, index].mean(1))
            needed.append(float(np.interp(target, shares, tokens[:, index].mean(1))))
        savings.append(1 - needed[1] / needed[0])
    return [round(float(value), 4) for value in np.quantile(savings, (0.025, 0.975))]


def kinds_of(prompts: Sequence[Prompt]) -> dict[str, list[int]]:
    """Numbers of the prompts by kind."""
    out: dict[str, list[int]] = {}
    for number, prompt in enumerate(prompts):
        out.setdefault(str(prompt.kind), []).append(number)
    return out


def at_target(
    target: float, tuned: Sequence[Curve], seen: Sequence[Curve], pictures: Sequence[int]
) -> dict[str, Any]:
    """Fixed and adaptive as chosen on validation, and what each needs on test."""
    places = [curve.reaching(target) for curve in tuned]
    needed = [curve.reaching(target) for curve in seen]
    out: dict[str, Any] = {"target": target}
    for number, name in enumerate(("fixed", "adaptive")):
        place, least = places[number], needed[number]
        at = None if place is None else [round(value, 4) for value in seen[number].at(place)]
        out[name] = {
            "chosen_on_validation": place and round(place, 3),
            "tokens_and_agreement_on_test": at,
            "tokens_needed_on_test": least and round(seen[number].at(least)[0], 2),
        }
    if None not in needed:
        fixed, adaptive = (out[name]["tokens_needed_on_test"] for name in ("fixed", "adaptive"))
        out["saved"] = round(1 - adaptive / fixed, 4)
        out["saved_interval"] = saved_interval(*seen, pictures, target)
    return out


def summary(
    validation: list[Prompt],
    test: list[Prompt],
    tuned: tuple[Curve, Curve],
    seen: tuple[Curve, Curve],
) -> dict[str, Any]:
    """Mixed and uniform sets, chosen on validation and read on test."""
    here, there = kinds_of(validation), kinds_of(test)
    mixed = [[n for kind in map(str, OBJECTS) for n in part[kind]] for part in (here, there)]
    chosen, read = [c.of(mixed[0]) for c in tuned], [c.of(mixed[1]) for c in seen]
    pictures = [id(test[n].images[0]) for n in mixed[1]]
    # Both splits together: more prompts for the same question, nothing chosen on either.
    both = [
        Curve(c.places, [x + y for x, y in zip(c.outcomes, d.outcomes, strict=True)])
        for c, d in zip(chosen, read, strict=True)
    ]
    all_pictures = [id(validation[n].images[0]) for n in mixed[0]] + pictures
    out: dict[str, Any] = {
        "mixed": {
            "prompts": {"validation": len(mixed[0]), "test": len(mixed[1])},
            "at_targets": [at_target(one, chosen, read, pictures) for one in TARGETS],
            "both_splits": [at_target(one, both, both, all_pictures) for one in TARGETS],
            "fixed": {"validation": chosen[0].rows(), "test": read[0].rows()},
            "adaptive": {"validation": chosen[1].rows(), "test": read[1].rows()},
            "adaptive_tokens_by_objects": {
                kind: [round(tokens, 2) for tokens in seen[1].of(there[kind]).tokens]
                for kind in map(str, OBJECTS)
            },
        }
    }
    for kind in (*map(str, OBJECTS), SCENEQA):
        fixed, adaptive = (c.of(here[kind]) for c in tuned)
        known, fresh = (c.of(there[kind]) for c in seen)
        rows = {}
        for budget in BUDGETS:
            wanted = fixed.at(budget)[0]
            if not adaptive.tokens[0] <= wanted <= adaptive.tokens[-1]:
                continue  # no measured mu takes so many
            tokens, same = known.at(budget)
            mu = adaptive.place_of(wanted)
            rows[str(budget)] = {
                "fixed": [round(tokens, 2), round(same, 4)],
                "adaptive": [round(value, 4) for value in fresh.at(mu)],
                "lost_points": round(100 * (same - fresh.at(mu)[1]), 2),
            }
        out[kind] = {"prompts": len(there[kind]), "budgets": rows}
    return out


def main() -> None:
    """See the module."""
    reading = argparse.ArgumentParser(description=__doc__)
    reading.add_argument("--out", type=Path, required=True)
    reading.add_argument("--folder", type=Path, default=Path("stsprune-adaptive"))
    reading.add_argument("--validation", type=int, default=24, help="pictures of each kind")
    reading.add_argument("--test", type=int, default=24, help="pictures of each kind")
    given = reading.parse_args()
    model, processor = stsprune.load_embedded()
    validation = prompts_of("validation", given.validation)
    test = prompts_of("test", given.test)
    tuned = measure(model, processor, validation, given.folder / "validation", {})
    seen = measure(model, processor, test, given.folder / "test", {})
    write_json(
        given.out,
        {
            "command": "python benchmarks/adaptive.py --out docs/data/adaptive.json",
            "targets": TARGETS,
            "pictures_of_each_kind": {"validation": given.validation, "test": given.test},
            **summary(validation, test, tuned, seen),
        },
    )


if __name__ == "__main__":
    main()
