"""`stsprune methods`: what can prune."""

from __future__ import annotations

import inspect
from typing import Annotated

import typer

from .terminal import print_json, print_table


def methods(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the pruning methods."""
    from stsprune.method import methods as registry

    about = {
        name: (inspect.getdoc(method) or "").split("\n")[0]
        for name, method in sorted(registry().items())
    }
    if as_json:
        print_json([{"name": name, "about": text} for name, text in about.items()])
    else:
        print_table("methods", ["name", "what it does"], [[n, t] for n, t in about.items()])
