"""What a run's rounds say: medians with quartiles, ratios within the rounds, the break-even."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from .contest import FLOOR, LIMIT, UNPRUNED
from .timing import spread

#: Milliseconds and bytes that each round measures; not all of them in every round or on a CPU.
MEASURED = ("ttft", "decode", "total", "encoder", "select", "score", "peak_bytes", "kv_bytes")

Rounds = list[dict[str, float]]
Spread = dict[str, float]


def summarise(document: dict[str, Any]) -> list[dict[str, Any]]:
    """One entry per batch with any finished measurement: batch, tokens, rows, refused.

    A ratio is taken round by round, between neighbours in time, and then its median; >= 1 of
    `speedup` and `total_speedup` is a gain. over_floor, decode_over_floor, peak_over_floor: against
    the floor of the same budget. encoder_flops_share: of the unpruned encoder's FLOPs, None where
    they are not known. floor_share: the speed-up over the floor's. overhead: the
    encoder's extra milliseconds. kv_exact: cache bytes are those that theory gives.
    """
    out = []
    for group in document["groups"]:
        entries = {
            (contestant["name"], contestant["budget"]): contestant
            for contestant in group["contestants"]
        }
        whole = entries.get((UNPRUNED, None))
        if whole is None or not whole["rounds"]:
            continue
        curve = _curve(entries, group["tokens"])
        rows = [
            _row(entry, whole, entries.get((FLOOR, entry["budget"])), group["batch"], curve)
            for entry in entries.values()
            if entry["rounds"]
        ]
        out.append(
            {name: group[name] for name in ("batch", "tokens")}
            | {"rows": rows, "refused": group["refused"]}
        )
    return out


def break_even(curve: Sequence[tuple[int, float]], time: float) -> float | None:
    """Visual tokens that the unpruned model does in `time`; None where that is more than measured.

    curve: (visual tokens, milliseconds) of the model without pruning code, ascending in tokens;
    straight lines between them. Pruning an image of more tokens than this gains, of fewer loses.
    """
    if time <= curve[0][1]:
        return curve[0][0]
    for (few, fast), (many, slow) in itertools.pairwise(curve):
        if fast <= time <= slow:
            return few + (many - few) * (time - fast) / (slow - fast) if slow > fast else few
    return None


def _curve(entries: dict[Any, Any], tokens: int) -> list[tuple[int, float]]:
    points = {
        tokens if budget is None else budget: spread([timed["ttft"] for timed in entry["rounds"]])
        for (name, budget), entry in entries.items()
        if name in (UNPRUNED, FLOOR) and entry["rounds"]
    }
    curve: list[tuple[int, float]] = []
    for count in sorted(points):
        least = curve[-1][1] if curve else 0.0  # noise must not let more tokens take less time
        curve.append((count, max(points[count].median, least)))
    return curve


def _row(
    entry: dict[str, Any],
    whole: dict[str, Any],
    floor: dict[str, Any] | None,
    batch: int,
    curve: list[tuple[int, float]],
) -> dict[str, Any]:
    rounds, theirs, facts = entry["rounds"], whole["rounds"], entry["facts"]
    least = floor["rounds"] if floor is not None else []
    row: dict[str, Any] = {"name": entry["name"], "budget": entry["budget"], **facts}
    row["speedup"] = _paired(theirs, rounds, "ttft")
    row["total_speedup"] = _paired(theirs, rounds, "total")
    for short, name in (("", "ttft"), ("decode_", "decode"), ("peak_", "peak_bytes")):
        row[f"{short}over_floor"] = _paired(rounds, least, name)
    row["floor_share"] = _paired(least, rounds, "ttft")  # unpruned cancels
    row["overhead"] = _paired(rounds, theirs, "encoder", lambda a, b: a - b)
    for name in MEASURED:
        values = [timed[name] for timed in rounds if name in timed]
        row[name] = spread(values).as_dict() if values else None
    row["kv_exact"] = all(timed["kv_bytes"] == batch * facts["kv_bytes"] for timed in rounds)
    row["flops_share"] = facts["flops"] / whole["facts"]["flops"]
    theirs_too = whole["facts"].get("encoder_flops")
    known = facts.get("encoder_flops") is not None and bool(theirs_too)
    row["encoder_flops_share"] = facts["encoder_flops"] / theirs_too if known else None
    row["kv_share"] = facts["kv_bytes"] / whole["facts"]["kv_bytes"]
    pruned = entry["name"] not in (UNPRUNED, FLOOR, LIMIT)
    row["break_even"] = break_even(curve, row["ttft"]["median"]) if pruned else None
    return row


def _paired(
    one: Rounds,
    two: Rounds,
    name: str,
    of: Callable[[float, float], float] = lambda a, b: a / b,
) -> Spread | None:
    pairs = [(a[name], b[name]) for a, b in zip(one, two, strict=False) if name in a and name in b]
    return spread([of(a, b) for a, b in pairs]).as_dict() if pairs else None
