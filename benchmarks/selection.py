"""How fast is `stsprune.repulsion` on the CPU? Ratios against a max-min loop and the Gram product.

    python benchmarks/selection.py --out benchmarks/results/selection-cpu.json

All contestants take turns in one process; medians of their times, then ratios.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

import stsprune
from stsprune.bench.machine import machine
from stsprune.bench.timing import interleaved
from stsprune.selection import cell_centres
from stsprune.selection.distance import potentials
from stsprune.selection.greedy import greedy_in_place
from stsprune.selection.reference import most_isolated
from stsprune.selection.repulsion import EPS, EXPONENT, SPACE

BATCH, SIDE, WIDTH, KEEP = 8, 24, 1024, 128


def gram(features: torch.Tensor) -> torch.Tensor:
    """Nothing but the N x N product of unit features."""
    return features @ features.transpose(1, 2)


def max_min_loops(distances: torch.Tensor, keep: int) -> list[list[int]]:
    """DivPrune's algorithm as its paper states it, image by image and step by step.

    Each step indexes the distance rows of all selected tokens and takes a min over them.
    """
    kept = []
    for table in distances:
        nearest = table.clone().fill_diagonal_(torch.inf).amin(1)
        selected = [int(nearest.argmax())]
        left = torch.ones(len(table), dtype=torch.bool)
        left[selected[0]] = False
        for _ in range(keep - 1):
            closest = table[selected].amin(0).masked_fill(~left, -torch.inf)
            selected.append(int(closest.argmax()))
            left[selected[-1]] = False
        kept.append(selected)
    return kept


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--repeats", type=int, default=25)
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(BATCH, SIDE * SIDE, WIDTH, generator=generator)
    positions = cell_centres(SIDE, SIDE)
    unit = torch.nn.functional.normalize(features, dim=-1)
    distances = 1 - gram(unit)
    table, logarithm = potentials(features, positions, SPACE, EXPONENT, EPS)
    table.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    first = most_isolated(table, logarithm)

    def whole_max_min() -> None:
        normal = torch.nn.functional.normalize(features, dim=-1)
        max_min_loops(1 - gram(normal), KEEP)

    with torch.inference_mode():
        times = interleaved(
            {
                "gram": lambda: gram(unit),
                "repulsion": lambda: stsprune.repulsion(features, positions, KEEP),
                "repulsion loop": lambda: greedy_in_place(table, first, KEEP, logarithm),
                "max-min loop": lambda: max_min_loops(distances, KEEP),
                "max-min": whole_max_min,
            },
            repeats=options.repeats,
        )
    median = {name: time.median for name, time in times.items()}
    ratios = {
        "max-min loop / repulsion loop": median["max-min loop"] / median["repulsion loop"],
        "max-min / repulsion": median["max-min"] / median["repulsion"],
        "repulsion / gram": median["repulsion"] / median["gram"],
    }
    for name, ratio in ratios.items():
        print(f"{name:32} {ratio:6.2f}x")
    for name, time in times.items():
        print(f"{name:32} {time.median:7.2f} ms  (quartiles {time.low:.2f} .. {time.high:.2f})")
    if options.out is not None:
        from stsprune.atomic import write_json

        document = {
            "shape": {"batch": BATCH, "tokens": SIDE * SIDE, "width": WIDTH, "keep": KEEP},
            "ratios": ratios,
            "milliseconds": {name: time.as_dict() for name, time in times.items()},
            "machine": machine("cpu"),
        }
        write_json(options.out, document)
        print(json.dumps(ratios))


if __name__ == "__main__":
    main()
