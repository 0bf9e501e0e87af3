"""`stsprune export`: the embedded model as a folder that serving engines read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .terminal import quiet_transformers


def export(
    folder: Annotated[Path, typer.Argument(help="New folder for weights and processor.")],
) -> None:
    """Write the embedded model in the hub's form: `vllm serve FOLDER` reads it."""
    from stsprune.embedded.load import export_hub

    quiet_transformers()
    export_hub(folder)
    typer.echo(f"written to {folder}")
