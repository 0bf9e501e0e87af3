"""Time and memory of `stsprune.repulsion` on one long video; `--table` makes it store its table.

    python benchmarks/long_video.py --tokens 32768 --keep 1024
    python benchmarks/long_video.py --tokens 32768 --keep 1024 --table      # 13 GB

One run in a process of its own: the memory is its peak above what the input and torch hold.
"""

from __future__ import annotations

import argparse
import resource
import time

import torch

from stsprune.selection import repulsion, tableless


def main() -> None:
    """Measure and print: seconds, CPU seconds, MiB, the first and the sum of the indices."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=32768)
    parser.add_argument("--keep", type=int, default=1024)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        tableless.TABLE = tableless.FASTER = 2**60
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1, options.tokens, options.width, generator=generator)
    positions = torch.rand(options.tokens, 3, generator=generator)
    repulsion(features[:, :300], positions[:300], 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, work = time.perf_counter(), time.process_time()
    kept = repulsion(features, positions, options.keep)
    seconds, work = time.perf_counter() - start, time.process_time() - work
    above = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(
        f"{seconds:.2f} s, {work:.2f} s of CPU, {above:.0f} MiB, {torch.get_num_threads()} threads,"
        f" first {int(kept[0, 0])}, sum {int(kept.sum())}"
    )


if __name__ == "__main__":
    main()
