"""What people see: tables, short numbers, JSON, a progress bar, and no notices of others."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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


class Answering:
    """One bar that can be started afresh."""

    def __init__(self, bar: Any) -> None:
        self._bar, self._task = bar, None

    def start(self, text: str, total: int) -> None:
        """A new line of `total` answers."""
        self._bar.start()  # not before: an error before any work is one line
        self._task = self._bar.add_task(text, total=total)

    def advance(self, count: int) -> None:
        """`count` answers more."""
        self._bar.advance(self._task, count)


@contextmanager
def answering() -> Iterator[Answering]:
    """Show progress for the length of a `with` block."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True))
    try:
        yield Answering(bar)
    finally:
        if bar.live.is_started:
            bar.stop()


def quiet_transformers() -> None:
    """Only errors, no bar for reading weights; a download still shows its own."""
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    hub_logging.set_verbosity_error()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
