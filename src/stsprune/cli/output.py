"""What the commands print: tables and short numbers for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from typing import Any

import typer


def one_line(error: BaseException) -> str:
    """An error's message without line breaks."""
    return " ".join(str(error).split())


def print_json(value: Any) -> None:
    """One JSON document on stdout and nothing else."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table on stdout; columns whose name starts with `#` are numbers, to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for name in columns:
        number = name.startswith("#")
        table.add_column(name.lstrip("#"), justify="right" if number else "left")
    for row in rows:
        table.add_row(*map(Text, row))  # plain: an answer may hold brackets
    # A pipe has no width of its own: do not fold there.
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def short_bytes(count: float) -> str:
    """1500 -> '1.5 kB': powers of 1000, here as in tables and reports."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
