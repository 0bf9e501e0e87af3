"""A run as tables for people: the ceiling first, then ratios, times and sizes of every batch."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from stsprune.selection.kernels import describe

from .attention import fastest
from .contest import FLOOR, LIMIT, UNPRUNED

#: Of `selecting.contest`, in the order of the table.
RATIOS = (
    "max-min loop / repulsion loop",
    "max-min / repulsion",
    "lean max-min loop / repulsion loop",
    "lean max-min / repulsion",
    "repulsion / gram",
)


@dataclass(frozen=True)
class Table:
    """Columns whose name starts with `#` are numbers; notes: lines below."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str]


def heading(document: dict[str, Any]) -> str:
    """Model, device and versions on one line."""
    setup, machine = document["setup"], document["machine"]
    attention = fastest(document["attention"])
    cores = f", {machine['threads']} threads" if setup["device"] == "cpu" else ""
    return (
        f"{setup['model']}, {setup['dtype']}, attention {attention}, "
        f"on {machine['device']}{cores}, "
        f"torch {machine['torch']}, transformers {machine['transformers']}"
    )


def first_tables(document: dict[str, Any]) -> list[Table]:
    """What is known before the rounds."""
    return [_ceiling(document), _selection(document)]


def _ceiling(document: dict[str, Any]) -> Table:
    """What the device does at best, and the least time that allows."""
    ceiling, setup = document["ceiling"], document["setup"]
    rows = [
        [str(limit["batch"]), str(limit["tokens"]), _ms(limit["least"]), limit["bound"]]
        for limit in ceiling["least"]
    ]
    rates = (
        f"measured here in {setup['dtype']}: {ceiling['flops'] / 1e12:.3g} TFLOP/s, "
        f"{ceiling['bytes'] / 1e9:.3g} GB/s"
    )
    return Table(
        "ceiling",
        ["#batch", "#visual tokens", "#least prefill ms", "bound by"],
        rows,
        [rates, "least: of the decoder alone, its FLOPs at peak or its weights read once"],
    )


def _selection(document: dict[str, Any]) -> Table:
    """Repulsion without a model."""
    rows = []
    for timed in document["selection"]:
        shape, times = timed["shape"], timed["milliseconds"]
        rows.append(
            [
                "{tokens} to {keep}".format(**shape),
                str(shape["width"]),
                str(shape["batch"]),
                *(_times(timed["ratios"][name]) for name in RATIOS),
                *(_ms(times[name]["median"]) for name in ("repulsion", "max-min", "gram")),
            ]
        )
    return Table(
        "selection alone",
        [
            "tokens",
            "#width",
            "#batch",
            "#loop faster",
            "#all faster",
            "#loop, lean",
            "#all, lean",
            "#time / Gram",
            "#ours ms",
            "#max-min ms",
            "#Gram ms",
        ],
        rows,
        [
            "faster: than max-min selection as DivPrune's paper states it, its loop and the whole "
            "call; lean: than the leanest form of it",
            "Gram: the N x N product of the features alone",
            describe(),
        ],
    )


def batch_tables(group: dict[str, Any]) -> list[Table]:
    """Ratios, times and sizes of a batch: an entry of `summary.summarise`."""
    return [_ratios(group), _milliseconds(group), _sizes(group)]


def _title(group: dict[str, Any], what: str) -> str:
    return f"batch {group['batch']}, {group['tokens']} visual tokens: {what}"


def _ratios(group: dict[str, Any]) -> Table:
    """How much faster than unpruned, how near to the floor, and from which size on it pays."""
    return Table(
        _title(group, "ratios"),
        [
            "method",
            "#budget",
            "#speed-up",
            "#quartiles",
            "#of floor's",
            "#/ floor",
            "#decode / floor",
            "#answer",
            "#break-even",
            "",
        ],
        [
            [
                *_named(row),
                _times(_median(row["speedup"])),
                _range(row["speedup"]),
                _percent(_median(row["floor_share"])),
                _times(_median(row["over_floor"])),
                _times(_median(row["decode_over_floor"])),
                _times(_median(row["total_speedup"])),
                _even(row, group["tokens"]),
                "loses" if row["speedup"]["median"] < 1 else "",
            ]
            for row in group["rows"]
        ],
        [
            "speed-up: of the prefill (time to first token) against unpruned, round by round; "
            "answer: the same of a whole answer",
            "floor: the model given only that many visual tokens, without pruning code; "
            "no encoder: and its output at hand already",
            "break-even: pruning to this budget gains on images of more visual tokens",
            *_refused(group),
        ],
    )


def _milliseconds(group: dict[str, Any]) -> Table:
    """Where the time goes."""
    return Table(
        _title(group, "milliseconds"),
        [
            "method",
            "#budget",
            "#selection",
            "#scores",
            "#encoder",
            "#encoder +",
            "#TTFT",
            "#quartiles",
            "#decode / token",
            "#answer",
        ],
        [
            [
                *_named(row),
                *_parts(row),
                _ms(_median(row["ttft"])),
                _range(row["ttft"]),
                *(_ms(_median(row[part])) for part in ("decode", "total")),
            ]
            for row in group["rows"]
        ],
        [
            "TTFT: encoder, selection and the decoder's prefill; selection, scores and encoder "
            "are timed again alone; encoder +: over the unpruned one's"
        ],
    )


def _sizes(group: dict[str, Any]) -> Table:
    """What is computed and what is held."""
    return Table(
        _title(group, "sizes"),
        [
            "method",
            "#budget",
            "tokens per layer",
            "#FLOPs",
            "#of unpruned",
            "#encoder FLOPs",
            "#of unpruned",
            "#KV cache",
            "#of unpruned",
            "exact",
            "#peak memory",
        ],
        [
            [
                *_named(row),
                _steps(row["tokens_per_layer"]),
                f"{group['batch'] * row['flops'] / 1e9:.4g} G",
                _percent(row["flops_share"]),
                _flops(row.get("encoder_flops"), group["batch"]),
                _percent(row["encoder_flops_share"]),
                _bytes(_median(row["kv_bytes"])),
                _percent(row["kv_share"]),
                "yes" if row["kv_exact"] else "NO",
                _bytes(_median(row["peak_bytes"])),
            ]
            for row in group["rows"]
        ],
        [
            "FLOPs: of the decoder's prefill, and of the encoder without the choice in it",
            "exact: the cache's bytes are those of the theory",
            "peak memory: the weights and what the prefill adds; a CPU does not tell",
        ],
    )


def _refused(group: dict[str, Any]) -> list[str]:
    return [f"{cell['name']} at {cell['budget']}: {cell['reason']}" for cell in group["refused"]]


def markdown(tables: list[Table]) -> str:
    """All tables, for a page."""
    parts = []
    for table in tables:
        lines = [f"**{table.title}**", ""]
        lines.append("| " + " | ".join(name.lstrip("#") for name in table.columns) + " |")
        marks = ("--:" if name.startswith("#") else "---" for name in table.columns)
        lines.append("|" + "|".join(marks) + "|")
        lines += ["| " + " | ".join(row) + " |" for row in table.rows]
        lines += ["", *(f"- {note}" for note in table.notes)] if table.notes else []
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _named(row: dict[str, Any]) -> list[str]:
    return [row["name"], "" if row["budget"] is None else str(row["budget"])]


def _median(spread: dict[str, float] | None) -> float | None:
    return None if spread is None else spread["median"]


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}x"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.1f}"


def _range(spread: dict[str, float] | None) -> str:
    return "-" if spread is None else f"{spread['low']:.2f}..{spread['high']:.2f}"


def _flops(count: int | None, batch: int) -> str:
    return "-" if count is None else f"{batch * count / 1e9:.4g} G"


def _bytes(count: float | None) -> str:
    return "-" if count is None else f"{count / 1e6:.1f} MB"


def _even(row: dict[str, Any], tokens: int) -> str:
    if row["name"] in (UNPRUNED, FLOOR, LIMIT):
        return ""
    return f"> {tokens}" if row["break_even"] is None else f"{row['break_even']:.0f}"


def _parts(row: dict[str, Any]) -> list[str]:
    if row["name"] in (UNPRUNED, FLOOR, LIMIT):
        return ["", "", _ms(_median(row["encoder"])), ""]
    return [_ms(_median(row[part])) for part in ("select", "score", "encoder", "overhead")]


def _steps(layers: list[int]) -> str:
    """[9, 9, 4, 4] -> '9, 4'."""
    return ", ".join(str(count) for count, _ in itertools.groupby(layers))
