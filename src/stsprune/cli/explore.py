"""`stsprune explore`: look at what methods keep, in the browser."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .terminal import quiet_transformers


def explore(
    model: Annotated[
        str, typer.Option(help='"embedded", a folder, or a hub id (safetensors only).')
    ] = "embedded",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the page on 127.0.0.1.")] = 7860,
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Open a page that shows what a method keeps, stage by stage, and what it costs."""
    from stsprune.explore import check_extra
    from stsprune.explore.serve import open_page

    check_extra()
    page, address, ready = open_page(lambda: _load(model), model, port=port, browser=show)
    typer.echo(f"stsprune explore: {address} (Ctrl-C ends it)")
    try:
        ready.result()
    except BaseException:
        page.close(verbose=False)
        raise
    page.block_thread()


def _load(name: str) -> tuple[Any, Any]:
    from stsprune.checkpoints import load_checkpoint

    quiet_transformers()
    return load_checkpoint(name)
