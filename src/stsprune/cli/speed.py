"""Showing a benchmark: on the terminal, as a page and as a plot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from .output import print_table

if TYPE_CHECKING:
    from stsprune.bench.tables import Table


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
