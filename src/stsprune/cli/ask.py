"""`stsprune ask`: one question about one picture."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from stsprune.question import check_text, check_words

from .answer import save_run
from .arguments import check_family, pick_method, pick_recipe
from .terminal import print_json, quiet_transformers, short_bytes


def ask(
    given: typer.Context,
    image: Annotated[str, typer.Argument(help="A PNG, JPEG, WEBP, GIF, BMP or TIFF file.")],
    question: Annotated[str, typer.Argument(help="What to ask, in quotes.")],
    model: Annotated[
        str, typer.Option(help='"embedded", "embedded-large", a folder, or a hub id.')
    ] = "embedded",
    method: Annotated[
        str, typer.Option(help='See `stsprune methods`; "none" keeps every token.')
    ] = "sts",
    budget: Annotated[
        str,
        typer.Option(help="Visual tokens per decoder layer on average: 64, or a fraction: 0.25."),
    ] = "64",
    recipe: Annotated[
        str | None, typer.Option(help="A recipe.json of `stsprune calibrate`: method and budget.")
    ] = None,
    any_model: Annotated[
        bool, typer.Option("--any-model", help="Take a recipe of another model.")
    ] = False,
    family: Annotated[
        str | None, typer.Option(help='For a model that is not listed: "generic", or a family.')
    ] = None,
    show: Annotated[
        str | None, typer.Option(help="Write a picture of what each stage kept.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 64,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Answer a question about an image."""
    # Cheap checks first: a slip of the pen should not wait for a model to load.
    check_text(question)
    from stsprune.images import load_image
    from stsprune.selection.budget import read_budget
    from stsprune.viz import check_target

    tokens = read_budget(budget)
    check_family(family)
    found = pick_recipe(recipe, given, "method", "budget")
    if show is not None:
        check_target(show)
    picture = load_image(image)
    pruner = pick_method(method, tokens)
    if found is not None:
        pruner, tokens, method = found.method, found.method.budget, found.method_name

    from stsprune.checkpoints import load_checkpoint

    from .answer import run

    quiet_transformers()
    vlm, processor = load_checkpoint(model)
    if found is not None and not any_model:
        found.check_model(vlm)
    check_words(processor, question)
    result = run(
        vlm,
        processor,
        picture,
        question,
        pruner,
        max_new_tokens=max_new_tokens,
        positions="original" if found is None else found.positions,
        family=family,
    )
    if show is not None:
        save_run(show, vlm, processor, picture, question, result)
    if as_json:
        setting = {"image": image, "question": question, "model": model, "method": method}
        print_json(setting | {"budget": tokens} | asdict(result))
        return
    typer.echo(result.answer)
    typer.echo(
        f"{method}: {result.visual_tokens:.1f} of {result.of} visual tokens per layer, prefill "
        f"{result.prefill_ms:.0f} ms, KV cache {short_bytes(result.kv_bytes)}",
        err=True,
    )
