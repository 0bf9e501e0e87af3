"""`stsprune bench`: what pruning saves on the clock, side by side with the floor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .loading import check_dtype
from .output import print_json
from .quiet import quiet_transformers


def bench(
    model: Annotated[
        str | None, typer.Option(help="geometry:NAME, a folder, a hub id or embedded.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="gpu or cpu; by default what the machine has.")
    ] = None,
    methods: Annotated[
        str, typer.Option("--methods", "--method", help="Names, with commas, or all.")
    ] = "all",
    budgets: Annotated[
        str | None, typer.Option("--budgets", "--budget", help="Tokens or fractions, with commas.")
    ] = None,
    batch: Annotated[str | None, typer.Option(help="Prompts at once, with commas.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Prefills of everybody.")] = None,
    answers: Annotated[int | None, typer.Option(min=1, help="Whole answers of everybody.")] = None,
    tokens: Annotated[int, typer.Option(min=2, help="New tokens of an answer.")] = 32,
    minutes: Annotated[float | None, typer.Option(min=0, help="Begin no round after that.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.")] = None,
    attention: Annotated[str, typer.Option(help="auto (the fastest) or transformers' name.")] = (
        "auto"
    ),
    layers: Annotated[int | None, typer.Option(min=2, help="Fewer, of a geometry.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for JSON, tables and plot.")] = Path(
        "stsprune-bench"
    ),
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the folder's run.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Time the unpruned model, every method and the floor in turns; writes tables and a plot."""
    from stsprune.bench import session
    from stsprune.bench.machine import machine
    from stsprune.bench.prepare import prepare
    from stsprune.bench.presets import pick_preset

    from .budget import whole_numbers
    from .pick import pick_names
    from .progress import answering
    from .speed import print_batches, print_first, save_report

    quiet_transformers()
    chosen, device = pick_preset(preset)
    name, dtype = model or chosen.model, dtype or chosen.dtype
    check_dtype(dtype)
    names = tuple(pick_names(methods, ablations=False))
    session.check_names(names)
    batches = whole_numbers("batch", batch or chosen.batch)
    session.check_batches(batches)
    network = _load(name, device, dtype, layers)
    setup = session.Setup(
        model=name,
        device=device,
        dtype=dtype,
        attention=attention,
        layers=layers,
        methods=names,
        budgets=_budgets(budgets, name, network),
        batches=batches,
        new_tokens=tokens,
    )
    effort = session.Effort(
        rounds or chosen.rounds,
        answers or chosen.answers,
        chosen.minutes if minutes is None else minutes,
    )
    document = session.open_folder(out, setup, machine(device), resume)
    prepare(document, network, setup, chosen.selection)
    if not as_json:
        print_first(document)
    try:
        with answering() as bar:
            bar.start("measuring", session.measurements(setup, effort))
            session.measure(
                document, network, setup, effort, lambda: session.write(out, document), bar.advance
            )
    except KeyboardInterrupt:
        typer.echo(f"stopped: {out} keeps what was measured, --resume goes on with it", err=True)
        raise
    finally:
        save_report(out, document)
    if as_json:
        print_json(document)
        return
    print_batches(document)
    typer.echo(f"{out}: bench.json, report.md, bench.png", err=True)


def _load(name: str, device: str, dtype: str, layers: int | None) -> Any:
    import torch

    from stsprune.bench.geometry import PREFIX, build, find
    from stsprune.checkpoints import load_checkpoint
    from stsprune.errors import InvalidArgumentError

    if name.startswith(PREFIX):
        return build(find(name), device, getattr(torch, dtype), layers=layers)
    if layers is not None:
        raise InvalidArgumentError(f"layers must be left out unless model is a {PREFIX}...")
    return load_checkpoint(name, device=device, dtype=dtype)[0]


def _budgets(text: str | None, name: str, network: Any) -> tuple[int, ...]:
    from stsprune.bench.contest import Scene
    from stsprune.bench.geometry import PREFIX, find
    from stsprune.bench.session import check_budgets

    from .budget import token_budgets

    visual = Scene.of(network, 1, 2).tokens
    if text is not None:
        budgets = tuple(token_budgets(text, visual))
    elif name.startswith(PREFIX):
        budgets = find(name).budgets
    else:
        budgets = tuple(max(1, visual * share // 9) for share in (3, 2, 1))
    check_budgets(budgets, visual)
    return budgets
