"""Whether pruning can pay, by arithmetic alone (the roofline: compute or reading the weights).

A short prompt on a fast device takes the time of reading the weights once: fewer tokens then save
nothing before the KV cache and the decode steps do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .costs import layer_flops, layer_weights

#: FLOPs that a device can do while it reads one byte: an H100 in bf16 (989 TFLOP/s, 3.35 TB/s), and
#: a CPU core with vector units. `stsprune bench` measures the real figures.
BALANCE = {"cuda": 295.0, "cpu": 10.0}
#: Expected time against the unpruned one from which pruning is called useless.
LIMIT = 0.98


def prefill_time(
    config: Any, rows: Sequence[Sequence[int]], bytes_per_number: int, balance: float
) -> float:
    """Time of the decoder's layers over a batch, in FLOPs of a device at its peak.

    rows: tokens per decoder layer, for every sequence; balance: see `BALANCE`.
    """
    reading = layer_weights(config) * bytes_per_number * balance
    layers = zip(*rows, strict=True)
    return sum(max(sum(layer_flops(config, n) for n in layer), reading) for layer in layers)


def expected_share(
    config: Any,
    unpruned: Sequence[Sequence[int]],
    pruned: Sequence[Sequence[int]],
    selection: int,
    bytes_per_number: int,
    balance: float,
) -> float:
    """Expected time of the decoder's prefill over the unpruned one; selection: its FLOPs."""
    before = prefill_time(config, unpruned, bytes_per_number, balance)
    after = prefill_time(config, pruned, bytes_per_number, balance) + selection
    return after / before
