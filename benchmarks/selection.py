"""How fast is `stsprune.repulsion` on the CPU? Ratios against a max-min loop and the Gram product.

    python benchmarks/selection.py --out benchmarks/results/selection-cpu.json

576 to 128 tokens, 1024 wide, batch 8; all contestants take turns in one process, medians.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from stsprune.atomic import write_json
from stsprune.bench.machine import machine
from stsprune.bench.selecting import contest


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--repeats", type=int, default=25)
    options = parser.parse_args()
    found = contest(576, 128, 1024, 8, "cpu", torch.float32, options.repeats)
    for name, ratio in found["ratios"].items():
        print(f"{name:32} {ratio:6.2f}x")
    for name, time in found["milliseconds"].items():
        print(
            f"{name:32} {time['median']:7.2f} ms  (quartiles {time['low']:.2f}..{time['high']:.2f})"
        )
    if options.out is not None:
        write_json(options.out, found | {"machine": machine("cpu")})


if __name__ == "__main__":
    main()
