"""`stsprune check`: is pruning exact on your model, your pictures, your machine?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stsprune.question import build_inputs, check_text, check_words

from .arguments import check_attention, check_device, check_dtype, check_family, pick_recipe
from .terminal import print_json, print_table, quiet_transformers, short_bytes

if TYPE_CHECKING:
    from stsprune.checking import Check, Pace
    from stsprune.checking.pictures import Asked

FAILED = 1
ROUNDS = 5
#: For pictures of the user's own: the embedded model knows these words, too.
QUESTION = "what is the background?"


def check(
    given: typer.Context,
    model: Annotated[
        str, typer.Option(help='"embedded", "embedded-large", a folder, or a hub id.')
    ] = "embedded",
    image: Annotated[
        list[str] | None,
        typer.Option(help="A picture of your own, repeatable; else three from the package."),
    ] = None,
    question: Annotated[str | None, typer.Option(help="What to ask about each picture.")] = None,
    method: Annotated[str, typer.Option(help="See `stsprune methods`.")] = "sts",
    budget: Annotated[
        str,
        typer.Option(help="Visual tokens per decoder layer on average: 64, or a fraction: 0.25."),
    ] = "0.25",
    family: Annotated[
        str | None, typer.Option(help='For a model that is not listed: "generic", or a family.')
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="A recipe.json of `stsprune calibrate`: method and budget.")
    ] = None,
    any_model: Annotated[
        bool, typer.Option("--any-model", help="Take a recipe of another model.")
    ] = False,
    dtype: Annotated[
        str | None, typer.Option(help="float32, bfloat16 or float16; else as stored.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="Else the GPU if there is one.")] = None,
    attention: Annotated[
        str | None, typer.Option(help="sdpa, eager or flash_attention_2; else transformers' own.")
    ] = None,
    layers: Annotated[
        int | None, typer.Option(help="Only the first N decoder layers, where all do not fit.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Prove pruning exact on a model and time it: exit code 0 if it is, 1 if not."""
    import torch

    import stsprune
    from stsprune.checkpoints import load_checkpoint
    from stsprune.errors import InvalidArgumentError
    from stsprune.method import find_method
    from stsprune.selection.budget import read_budget

    from .terminal import answering

    found_recipe = pick_recipe(recipe, given, "method", "budget")
    pruner = find_method(method)(budget=read_budget(budget))
    if found_recipe is not None:
        pruner = found_recipe.method
        if found_recipe.positions != "original":
            raise InvalidArgumentError(
                f"{found_recipe.source} must be of original positions: only there is dropping a "
                "token the same as masking it"
            )
        if layers is not None and not any_model:
            raise InvalidArgumentError(
                f"layers must be left out with --recipe, which is for the whole model, got {layers}"
            )
    if question is not None:
        check_text(question)
    check_family(family)
    check_dtype(dtype)
    check_attention(attention)
    check_device(device)
    asked = _pictures(model, image or [], question)
    quiet_transformers()
    try:
        vlm, processor = load_checkpoint(
            model,
            device=device,
            dtype=dtype or "auto",
            attn_implementation=attention,
            layers=layers,
        )
        if found_recipe is not None and not any_model:
            found_recipe.check_model(vlm)
        for example in asked:
            check_words(processor, example.question)
        inputs = [
            build_inputs(vlm, processor, example.image, example.question) for example in asked
        ]
        with answering() as bar:
            bar.start("checking", len(inputs) + ROUNDS)
            found = stsprune.check(
                vlm, inputs, pruner, rounds=ROUNDS, family=family, advance=bar.advance
            )
    except torch.OutOfMemoryError as error:
        raise InvalidArgumentError(
            f"model must fit the device, {model!r} does not ({str(error).splitlines()[0]}): "
            "--layers N runs its first layers only, --dtype bfloat16 halves float32"
        ) from error
    if as_json:
        pictures = [{"name": example.name, "question": example.question} for example in asked]
        print_json({"checkpoint": model, "cut_to": layers, "pictures": pictures} | found.as_dict())
    else:
        _print(model, asked, found)
    if not found.ok:
        raise typer.Exit(FAILED)


def _pictures(model: str, files: list[str], question: str | None) -> list[Asked]:
    from dataclasses import replace

    from stsprune.checking.pictures import Asked, scenes
    from stsprune.checkpoints import EMBEDDED
    from stsprune.images import load_image

    if files:
        return [Asked(file, load_image(file), question or QUESTION) for file in files]
    drawn = scenes(as_drawn=model == EMBEDDED)
    return [replace(example, question=question) if question else example for example in drawn]


def _print(model: str, asked: list[Asked], found: Check) -> None:
    setting, machine = found.setting, found.machine
    typer.echo(
        f"{model}: {setting.model}, {setting.layers} decoder layers, {setting.dtype}, "
        f"{setting.attention}, on {machine['device']} ({setting.device})"
    )
    typer.echo(
        f"stsprune {machine['stsprune']}, transformers {machine['transformers']}, torch "
        f"{machine['torch']}"
    )
    typer.echo(setting.method)
    typer.echo()
    print_table(
        f"largest difference of a pruned logit, behind the prompt and {found.steps} steps",
        ["", *(f"#{Path(example.name).name}" for example in asked)],
        _differences(found),
    )
    print_table("size", ["", *(f"#{Path(example.name).name}" for example in asked)], _sizes(found))
    print_table(
        f"time in ms, {found.first_token.pruned.runs} runs each, in turns",
        ["", "#unpruned", "#pruned", "#unpruned / pruned"],
        [
            _pace("to the first token", found.first_token),
            _pace("per further token", found.per_token),
        ],
    )
    for why in dict.fromkeys(f.why for prompt in found.prompts for f in prompt.findings if f.why):
        typer.echo(f"does not apply: {why}")
    typer.echo(found.verdict)


def _differences(found: Check) -> list[list[str]]:
    names = [finding.name for finding in found.prompts[0].findings]
    rows = [
        [f"to {name}", *(_mark(prompt.findings[place]) for prompt in found.prompts)]
        for place, name in enumerate(names)
    ]
    bars = [f"{prompt.findings[0].bar:.1e}" for prompt in found.prompts]
    noises = [f"{prompt.noise:.1e}" for prompt in found.prompts]
    return [*rows, ["allowed", *bars], ["noise: unpruned to itself, uncached", *noises]]


def _mark(finding: Any) -> str:
    if finding.difference is None:
        return "-"
    return f"{finding.difference:.1e} {'✓' if finding.ok else '✗'}"


def _sizes(found: Check) -> list[list[str]]:
    prompts = found.prompts
    return [
        ["visual tokens", *(_sum(prompt.visual_tokens) for prompt in prompts)],
        ["kept, per layer", *(_sum(prompt.kept) for prompt in prompts)],
        ["KV cache, unpruned", *(short_bytes(prompt.unpruned_bytes) for prompt in prompts)],
        ["KV cache, pruned", *(short_bytes(prompt.pruned_bytes) for prompt in prompts)],
        [
            "as the plan says",
            *(
                f"{short_bytes(prompt.theory_bytes)} "
                f"{'✓' if prompt.theory_bytes == prompt.pruned_bytes else '✗'}"
                for prompt in prompts
            ),
        ],
    ]


def _sum(counts: Any) -> str:
    return f"{sum(counts):.4g}"


def _pace(name: str, pace: Pace) -> list[str]:
    return [
        name,
        f"{pace.unpruned.median:.1f}",
        f"{pace.pruned.median:.1f}",
        f"{pace.ratio:.2f}",
    ]
