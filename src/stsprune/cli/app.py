"""The `stsprune` program: its commands, and how errors leave it."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from stsprune.errors import StsPruneError

from . import ask, bench, calibrate, check, demo, eval, explore, export, methods, models, tune
from .terminal import one_line

BAD_INPUT, INTERRUPTED = 2, 130


class _Group(TyperGroup):
    """One clear line for what the user can mend; a traceback is left to real bugs."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except StsPruneError as error:
            typer.echo(f"stsprune: {one_line(error)}", err=True)
            raise typer.Exit(BAD_INPUT) from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Answer questions about images from a fraction of a VLM's visual tokens.",
)
app.command()(demo.demo)
app.command()(ask.ask)
app.command()(check.check)
app.command("eval")(eval.evaluate)
app.command()(tune.tune)
app.command()(bench.bench)
app.command()(calibrate.calibrate)
app.command()(explore.explore)
app.command()(methods.methods)
app.command()(models.models)
app.command()(export.export)


def main() -> None:
    """Entry point of the installed program."""
    app()
