"""`stsprune calibrate`: the smallest budget that is safe for these prompts on this model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .arguments import check_family
from .terminal import print_json, print_table, quiet_transformers, short_bytes

if TYPE_CHECKING:
    from stsprune.calibration import Calibration, Point


def calibrate(
    data: Annotated[Path, typer.Option(help="A file of JSON lines, or a folder of pictures.")],
    out: Annotated[Path, typer.Option(help="Folder of recipe and report; resumed if it exists.")],
    model: Annotated[
        str, typer.Option(help='"embedded", a folder, or a hub id (safetensors only).')
    ] = "embedded",
    target: Annotated[float, typer.Option(help="Share of answers that must stay.")] = 0.98,
    questions: Annotated[
        Path | None, typer.Option(help="With a folder: a file of questions, one a line.")
    ] = None,
    method: Annotated[str, typer.Option(help="See `stsprune methods`.")] = "sts",
    search: Annotated[
        bool, typer.Option("--search", help="Look for better settings too, not only a budget.")
    ] = False,
    positions: Annotated[str, typer.Option(help="original or compact.")] = "original",
    family: Annotated[
        str | None, typer.Option(help='For a model that is not listed: "generic", or a family.')
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Prompts that run together.")] = 8,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Of the two halves.")] = 0,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    device: Annotated[str | None, typer.Option(help="By default the GPU if there is one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find the smallest budget at which a share of the answers stays what it is unpruned."""
    from stsprune.calibration.prompts import digest, read_folder, read_prompts
    from stsprune.calibration.run import check_target
    from stsprune.errors import InvalidArgumentError
    from stsprune.method import find_method

    from .terminal import answering

    # Everything that can be wrong without the model is found before it is loaded.
    check_target(target)
    find_method(method)
    check_family(family)
    if dtype not in ("auto", "float32", "bfloat16", "float16"):
        raise InvalidArgumentError(
            f"dtype must be auto, float32, bfloat16 or float16, got {dtype!r}"
        )
    if data.is_dir():
        if questions is None:
            raise InvalidArgumentError(
                f"questions must be given with a folder of pictures, {str(data)!r} is one"
            )
        prompts = read_folder(data, questions)
    elif questions is not None:
        raise InvalidArgumentError(
            f"questions must be left out unless data is a folder, got {str(data)!r}"
        )
    else:
        prompts = read_prompts(data)
    digest(prompts)  # every picture opens

    import stsprune
    from stsprune.checkpoints import load_checkpoint

    quiet_transformers()
    vlm, processor = load_checkpoint(model, device=device, dtype=dtype)
    try:
        with answering() as bar:
            found = stsprune.calibrate(
                vlm,
                processor,
                prompts,
                target=target,
                method=method,
                search=search,
                positions=positions,
                family=family,
                batch=batch,
                max_new_tokens=max_new_tokens,
                seed=seed,
                out=out,
                name=model,
                data=data.name,
                begin=lambda text, work: bar.start(text, work) if work else None,
                advance=bar.advance,
            )
    except KeyboardInterrupt:
        typer.echo(f"stopped: {out} keeps what was measured, the same command goes on", err=True)
        raise
    if as_json:
        print_json(found.document())
        return
    _print(found)
    typer.echo(f"{out}: recipe.json, report.html", err=True)


def _print(found: Calibration) -> None:
    labels = found.accuracy is not None
    columns = ["", "#budget", "#tokens", "#same answer %", "#held out %", "#95 % interval"]
    columns += ["#tokens alike %", "#KL"] + ["#accuracy %"] * labels + ["#time %", "#KV %"]
    rows = [_row(point, found, labels) for point in found.curve]
    print_table(f"agreement with unpruned, {found.chosen.search.prompts} prompts", columns, rows)
    from stsprune.calibration.result import spelt

    for point in found.refuted:
        assert point.held_out is not None
        typer.echo(
            f"budget {spelt(point.method)} held on the searched half "
            f"({100 * point.search.same:.1f} %), not on the other one "
            f"({100 * point.held_out.same:.1f} %): one step up"
        )
    held, cost = found.chosen.held_out, found.chosen.cost
    assert held is not None
    assert cost is not None
    typer.echo(
        f"budget {spelt(found.method)}: {100 * held.same:.1f} % of {held.prompts} held-out "
        f"answers stay (95 % interval {100 * held.low:.1f} to {100 * held.high:.1f}), target "
        f"{100 * found.target:g} %"
    )
    typer.echo(
        f"{100 * (1 - cost.time):.0f} % less time to the first token "
        f"({found.unpruned.ms:.0f} -> {cost.ms:.0f} ms), {100 * (1 - cost.kv):.0f} % less KV cache "
        f"({short_bytes(found.unpruned.kv_bytes)} -> {short_bytes(cost.kv_bytes)})"
    )
    if found.tried:
        typer.echo(f"settings found: {_settings(found)}")


def _settings(found: Calibration) -> str:
    from dataclasses import fields

    defaults = type(found.method)(found.method.budget)
    different = [
        f"{f.name} {getattr(found.method, f.name)}"
        for f in fields(defaults)
        if getattr(defaults, f.name) != getattr(found.method, f.name)
    ]
    return ", ".join(different) or "the defaults"


def _row(point: Point, found: Calibration, labels: bool) -> list[str]:
    from stsprune.calibration.result import spelt

    seen, held, cost = point.search, point.held_out, point.cost
    row = [
        "chosen" if repr(point.method) == repr(found.method) else "",
        spelt(point.method),
        f"{seen.visual:.1f}",
        f"{100 * seen.same:.1f}",
        "" if held is None else f"{100 * held.same:.1f}",
        "" if held is None else f"{100 * held.low:.1f} - {100 * held.high:.1f}",
        f"{100 * seen.tokens:.1f}",
        f"{seen.kl:.3f}",
    ]
    if labels:
        row.append("" if seen.accuracy is None else f"{100 * seen.accuracy:.1f}")
    assert cost is not None
    return [*row, f"{100 * cost.time:.0f}", f"{100 * cost.kv:.0f}"]
