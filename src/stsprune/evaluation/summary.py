"""From the records of a run to its figures: accuracy with intervals, tests, structure, cost."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from ..engine.costs import kv_cache_bytes, prefill_flops
from ..method import Method, methods
from ..method.base import tokens_per_layer
from .benchmarks import Benchmark, find_benchmark
from .blind import Blind
from .figures import FIGURES
from .jobs import Job, Refused
from .runner import Setup, describe, read_shard, shard_path
from .sceneqa import Item, load_items
from .stats import bootstrap_interval, holm, mcnemar

MAIN = "sts"  # what the others are tested against
#: Mean over the families: none weighs more because it has more questions.
OVERALL = "mean"


def summarise(
    folder: Path,
    setup: Setup,
    jobs: Sequence[Job],
    refused: Sequence[Refused],
    shape: tuple[int, int],
) -> dict[str, Any]:
    """A JSON document of everything that a finished run says.

    shape: (visual tokens, decoder layers) of the model.
    rows: one per method and budget. accuracy: family -> [mean, low, high] with a 95 % interval,
    "mean" over the families, "all" over the questions; relative: accuracy over unpruned;
    agreement: share of the unpruned model's answers; long: where answers have several tokens, the
    share of the right tokens that stand at their place, of whole right answers and of the unpruned
    model's whole answers, mean over those families; kl: mean KL divergence of the answer's
    distribution from unpruned, nats; first, middle: `FIGURES` of what the first stage kept and of
    what the decoder still sees half-way; against: the paired test of STS with this method at this
    budget (wins: only STS is right; p: exact McNemar; p_holm: corrected over the methods), on all
    questions and per family.
    """
    items: list[Item] = []
    records: dict[str, list[dict[str, Any]]] = {job.stored: [] for job in jobs}
    for first, count in setup.shards():
        part = load_items(setup.split, count, start=first, benchmark=setup.benchmark)
        items += part
        shard = read_shard(shard_path(folder, first, count))
        for stored, parts in records.items():
            parts.append(shard[stored])
    asked = find_benchmark(setup.benchmark)
    names = [name for name in asked.families if any(i.question.family == name for i in items)]
    judge = _Judge(items, names, asked)
    config, length = _text_config(asked), _text_length(asked, items)
    whole = records[Job.unpruned().stored]
    unpruned = _joined(whole, "answer")
    rows = [
        _row(judge, runs, [records[run.stored] for run in runs], unpruned, config, shape, length)
        for runs in _grouped(jobs)
    ]
    base = next(row for row in rows if row["budget"] is None)
    for row in rows:
        row["relative"] = row["accuracy"][OVERALL][0] / base["accuracy"][OVERALL][0]
        row["speed"] = base["seconds"] / row["seconds"]
    _test_pairs(rows, judge)
    without = _without_a_family(rows, names)
    for row in rows:
        row.pop("right")
    return {
        **describe(setup),
        "questions": len(items),
        "families": names,
        "visual_tokens": shape[0],
        "layers": shape[1],
        "budgets": sorted({job.budget for job in jobs if job.budget is not None}, reverse=True),
        "blind": judge.accuracy(
            judge.marks(Blind.shipped(asked.name).answers([i.question for i in items]))
        ),
        "rows": rows,
        "without": without,
        "refused": [asdict(values) for values in refused],
    }


class _Judge:
    """Marks answers, per family and over all."""

    def __init__(self, items: Sequence[Item], families: Sequence[str], asked: Benchmark) -> None:
        self.wanted = [item.question.answer for item in items]
        self.tokenizer = asked.tokenizer()
        self.scenes = [item.scene.index for item in items]
        self.families = {
            name: [n for n, item in enumerate(items) if item.question.family == name]
            for name in families
        }
        self.long = [index for name, index in self.families.items() if name not in asked.short]

    def marks(self, given: Sequence[str]) -> list[bool]:
        return [a == b for a, b in zip(given, self.wanted, strict=True)]

    def several(self, given: Sequence[str], unpruned: Sequence[str]) -> dict[str, float]:
        """Of answers that have several tokens: "tokens", "whole" and "same", see `summarise`."""
        of_tokens = {
            n: self._in_place(given[n], self.wanted[n]) for index in self.long for n in index
        }
        return {
            name: fmean(fmean(mark(n) for n in index) for index in self.long)
            for name, mark in (
                ("tokens", of_tokens.__getitem__),
                ("whole", lambda n: float(given[n] == self.wanted[n])),
                ("same", lambda n: float(given[n] == unpruned[n])),
            )
        }

    def _in_place(self, given: str, wanted: str) -> float:
        spoken, right = (
            self.tokenizer(text, add_special_tokens=False).input_ids for text in (given, wanted)
        )
        return sum(a == b for a, b in zip(spoken, right, strict=False)) / len(right)

    def accuracy(self, marks: Sequence[float]) -> dict[str, list[float]]:
        """[mean, low, high] of every family, of their mean and of all questions."""
        groups = list(self.families.values())
        return {
            OVERALL: self._interval(marks, groups),
            "all": self._interval(marks, [range(len(marks))]),
            **{name: self._interval(marks, [parts]) for name, parts in self.families.items()},
        }

    def _interval(self, marks: Sequence[float], groups: Sequence[Sequence[int]]) -> list[float]:
        mean = fmean(fmean(marks[n] for n in group) for group in groups)
        low, high = bootstrap_interval(marks, self.scenes, groups)
        return [round(value, 5) for value in (mean, low, high)]


def _grouped(jobs: Sequence[Job]) -> list[list[Job]]:
    """Seeds of one method and budget together, in the order of the jobs."""
    groups: dict[tuple[str, int | None], list[Job]] = {}
    for job in jobs:
        groups.setdefault((job.name, job.budget), []).append(job)
    return list(groups.values())


def _row(
    judge: _Judge,
    runs: Sequence[Job],
    records: Sequence[list[dict[str, Any]]],
    unpruned: Sequence[str],
    text_config: Any,
    shape: tuple[int, int],
    text: float,
) -> dict[str, Any]:
    job, count = runs[0], len(judge.wanted)
    answers = [_joined(parts, "answer") for parts in records]
    marks = [judge.marks(given) for given in answers]
    mean = [fmean(values[n] for values in marks) for n in range(count)]
    same = [[a == b for a, b in zip(given, unpruned, strict=True)] for given in answers]
    seconds = [sum(part["seconds"] for part in parts) for parts in records]
    row: dict[str, Any] = {
        "name": job.name,
        "budget": job.budget,
        "runs": len(runs),
        "settings": {} if job.method is None else _settings(job.method),
        "accuracy": judge.accuracy(mean),
        "agreement": fmean(fmean(values) for values in same),
        **({"long": _means([judge.several(a, unpruned) for a in answers])} if judge.long else {}),
        "kl": fmean(fmean(_joined(parts, "kl")) for parts in records),
        "seconds": fmean(seconds) / count,
        "selection": fmean(sum(p.get("selection", 0.0) for p in parts) for parts in records)
        / count,
        **_cost(job, text_config, shape, text),
        "right": marks[0],
    }
    for stage in ("first", "middle"):
        if stage in records[0][0]:
            row[stage] = {
                name: _mean_figure([part[stage][name] for parts in records for part in parts])
                for name in FIGURES
            }
            row[stage]["kept"] = records[0][0][stage]["kept"]
    if "entropy" in records[0][0] and not _ranks(job):
        row["entropy"] = fmean(_joined(records[0], "entropy"))
    return row


def _ranks(job: Job) -> bool:
    """Whether scores are places in an order: their entropy says nothing."""
    return job.method is not None and job.method.ranks


def _cost(job: Job, config: Any, shape: tuple[int, int], text: float) -> dict[str, Any]:
    """Visual tokens per layer; FLOPs and KV bytes of one prompt of mean length."""
    tokens, depth = shape
    layers = [tokens] * depth
    if job.method is not None:
        layers = tokens_per_layer(job.method.plan(tokens, depth), tokens, depth)
    lengths = [round(text) + count for count in layers]
    return {
        "tokens_per_layer": layers,
        "flops": prefill_flops(config, lengths),
        "kv_bytes": kv_cache_bytes(config, lengths, 4),
    }


def _test_pairs(rows: Sequence[dict[str, Any]], judge: _Judge) -> None:
    for budget in {row["budget"] for row in rows if row["budget"] is not None}:
        parts = [row for row in rows if row["budget"] == budget]
        main = [row for row in parts if row["name"] == MAIN]
        others = [row for row in parts if row["name"] != MAIN]
        if not main or not others:
            continue
        everything = range(len(main[0]["right"]))
        for row, test in zip(others, _tests(main[0], others, everything), strict=True):
            row["against"] = test | {"families": {}}
        for family, index in judge.families.items():
            for row, test in zip(others, _tests(main[0], others, index), strict=True):
                row["against"]["families"][family] = test


def _without_a_family(
    rows: Sequence[dict[str, Any]], families: Sequence[str]
) -> list[dict[str, Any]]:
    """Per budget and family left out: how far STS leads the best other method, over the rest.

    Negative where it does not. Ablations are STS too and no other method.
    """
    out = []
    ablations = {name for name, method in methods().items() if method.ablation}
    for budget in sorted({row["budget"] for row in rows if row["budget"] is not None}):
        at = [row for row in rows if row["budget"] == budget and row["name"] not in ablations]
        if MAIN not in {row["name"] for row in at} or len(at) < 2 or len(families) < 2:
            continue
        for family in (None, *families):
            left = [name for name in families if name != family]
            means = {r["name"]: fmean(r["accuracy"][name][0] for name in left) for r in at}
            main = means.pop(MAIN)
            best = max(means, key=lambda name: means[name])
            lead = round(main - means[best], 5)
            out.append({"budget": budget, "without": family, "best": best, "lead": lead})
    return out


def _tests(
    main: dict[str, Any], others: Sequence[dict[str, Any]], index: Sequence[int]
) -> list[dict[str, Any]]:
    """`main` against each of the others on some questions."""
    mine, *theirs = ([row["right"][n] for n in index] for row in (main, *others))
    tests = [mcnemar(mine, marks) for marks in theirs]
    corrected = holm([p for _, _, p in tests])
    return [
        {"wins": wins, "losses": losses, "p": p, "p_holm": p_holm}
        for (wins, losses, p), p_holm in zip(tests, corrected, strict=True)
    ]


def _settings(method: Method) -> dict[str, Any]:
    return {
        name: value for name, value in method.settings().items() if name not in ("budget", "seed")
    }


def _joined(parts: Sequence[dict[str, Any]], name: str) -> list[Any]:
    return [value for part in parts for value in part[name]]


def _means(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: round(fmean(part[name] for part in parts), 5) for name in parts[0]}


def _mean_figure(parts: Sequence[Sequence[float | None]]) -> float:
    known = [value for part in parts for value in part if value is not None]
    return fmean(known) if known else float("nan")


def as_csv(document: dict[str, Any]) -> str:
    """The rows of a summary as a table, one line per method and budget."""
    families = [OVERALL, "all", *document["families"]]
    head = ["method", "budget", "runs"]
    head += [f"{name} {part}" for name in families for part in ("accuracy", "low", "high")]
    head += ["relative", "agreement", "kl", "wins", "losses", "p", "p_holm", "entropy"]
    head += [f"{stage} {name}" for stage in ("first", "middle") for name in ("kept", *FIGURES)]
    head += ["flops", "kv bytes", "ms", "selection ms", "speed", "settings"]
    sheet = io.StringIO()
    writer = csv.writer(sheet, lineterminator="\n")
    writer.writerow(head)
    for row in document["rows"]:
        against = row.get("against", {})
        line = [row["name"], row["budget"], row["runs"]]
        line += [value for name in families for value in row["accuracy"][name]]
        line += [row["relative"], row["agreement"], row["kl"]]
        line += [against.get(name) for name in ("wins", "losses", "p", "p_holm")]
        line += [row.get("entropy")]
        line += [
            row.get(stage, {}).get(name)
            for stage in ("first", "middle")
            for name in ("kept", *FIGURES)
        ]
        line += [row["flops"], row["kv_bytes"], 1000 * row["seconds"], 1000 * row["selection"]]
        line += [row["speed"], json.dumps(row["settings"])]
        writer.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in line])
    return sheet.getvalue()


def _text_config(benchmark: Benchmark) -> Any:
    """The model's decoder config."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(benchmark.folder(), local_files_only=True).text_config


def _text_length(benchmark: Benchmark, items: Sequence[Item]) -> float:
    """Mean tokens of a prompt without its picture: words, USER:, ASSISTANT: and <s>."""
    tokenizer = benchmark.tokenizer()
    return fmean(len(tokenizer(f"USER: {i.question.text} ASSISTANT:").input_ids) for i in items)
