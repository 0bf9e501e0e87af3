"""Times of contestants that take turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Times:
    """Milliseconds: median, first and third quartile, and how many runs they come from."""

    median: float
    low: float
    high: float
    runs: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def spread(values: list[float]) -> Times:
    """Median and quartiles of at least one value."""
    if len(values) < 2:
        return Times(values[0], values[0], values[0], len(values))
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Times(median, low, high, len(values))


def interleaved(
    contestants: Mapping[str, Callable[[], Any]],
    repeats: int,
    *,
    warm: int = 2,
    device: str = "cpu",
) -> dict[str, Times]:
    """Run every contestant once per round, `warm` rounds unmeasured and `repeats` measured.

    Turns make a slow moment of the machine hit all alike. Times are those of `events`.
    """
    values: dict[str, list[float]] = {name: [] for name in contestants}
    for round_ in range(warm + repeats):
        for name, run in contestants.items():
            elapsed = events(run, device)
            if round_ >= warm:
                values[name].append(elapsed)
    return {name: spread(each) for name, each in values.items()}


def clock(run: Callable[[], Any], device: str = "cpu") -> float:
    """Milliseconds of one call, from an idle device to an idle device."""
    synchronise(device)
    start = time.perf_counter()
    run()
    synchronise(device)
    return 1000 * (time.perf_counter() - start)


def events(run: Callable[[], Any], device: str = "cpu") -> float:
    """Milliseconds of one call by a GPU's own events, without the wait at the end; else `clock`."""
    if torch.device(device).type != "cuda":
        return clock(run, device)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    synchronise(device)
    start.record()
    run()
    end.record()
    synchronise(device)
    return start.elapsed_time(end)


def synchronise(device: str) -> None:
    """Wait until the device has done all it was given."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
