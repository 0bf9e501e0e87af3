"""A progress bar with time left, on stderr."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


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
