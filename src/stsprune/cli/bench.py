"""`stsprune bench`: what pruning saves on the clock, side by side with the floor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stsprune.errors import InvalidArgumentError

from .arguments import check_dtype
from .terminal import print_json, print_table, quiet_transformers

if TYPE_CHECKING:
    from stsprune.bench.tables import Table


def bench(
    given: typer.Context,
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
    recipe: Annotated[
        str | None, typer.Option(help="A recipe.json: its method, settings and budget.")
    ] = None,
    any_model: Annotated[
        bool, typer.Option("--any-model", help="Take a recipe of another model.")
    ] = False,
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

    from .arguments import check_fixed, pick_names, pick_recipe, whole_numbers
    from .terminal import answering

    quiet_transformers()
    chosen, device = pick_preset(preset)
    name, dtype = model or chosen.model, dtype or chosen.dtype
    check_dtype(dtype)
    found = pick_recipe(recipe, given, "methods", "budgets")
    names = tuple(pick_names(methods, ablations=False) if found is None else [found.method_name])
    session.check_names(names)
    batches = whole_numbers("batch", batch or chosen.batch)
    session.check_batches(batches)
    network = _load(name, device, dtype, layers)
    if found is not None:
        check_fixed(found, "bench times one length per row of its tables")
        if found.positions != "original":
            raise InvalidArgumentError(
                f"{found.source} must be of original positions: bench times no others"
            )
        if not any_model:
            found.check_model(network)
        budgets = str(found.method.budget)
    setup = session.Comparison(
        model=name,
        device=device,
        dtype=dtype,
        attention=attention,
        layers=layers,
        methods=names,
        budgets=_budgets(budgets, name, network),
        batches=batches,
        new_tokens=tokens,
        settings={} if found is None else {found.method_name: found.settings()},
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
    from stsprune.bench.contest import Workload
    from stsprune.bench.geometry import PREFIX, find
    from stsprune.bench.session import check_budgets

    from .arguments import token_budgets

    visual = Workload.of(network, 1, 2).tokens
    if text is not None:
        budgets = tuple(token_budgets(text, visual))
    elif name.startswith(PREFIX):
        budgets = find(name).budgets
    else:
        budgets = tuple(max(1, visual * share // 9) for share in (3, 2, 1))
    check_budgets(budgets, visual)
    return budgets


def print_first(document: dict[str, Any]) -> None:
    """What is known before the rounds: the ceiling comes first."""
    from stsprune.bench.tables import first_tables

    for table in first_tables(document):
        _print(table)


def print_batches(document: dict[str, Any]) -> None:
    """What the rounds gave."""
    from stsprune.bench.summary import summarise
    from stsprune.bench.tables import batch_tables

    for group in summarise(document):
        for table in batch_tables(group):
            _print(table)


def save_report(folder: Path, document: dict[str, Any]) -> None:
    """Write report.md and, where anything was measured, bench.png."""
    from stsprune.atomic import write_bytes, write_text
    from stsprune.bench.summary import summarise
    from stsprune.bench.tables import batch_tables, first_tables, heading, markdown
    from stsprune.viz.speed import speed_picture

    groups = summarise(document)
    if not groups:
        return
    tables = [*first_tables(document), *(t for group in groups for t in batch_tables(group))]
    write_text(folder / "report.md", f"{heading(document)}\n\n{markdown(tables)}")
    write_bytes(folder / "bench.png", speed_picture(groups, heading(document)))


def _print(table: Table) -> None:
    print_table(table.title, table.columns, table.rows)
    for note in table.notes:
        typer.echo(f"  {note}")
    typer.echo()
