"""`stsprune demo`: one test picture, every kind of question, four budgets."""

from __future__ import annotations

import statistics
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .answer import save_run
from .terminal import print_json, print_table, quiet_transformers, short_bytes

if TYPE_CHECKING:
    from .answer import Answered

#: Shares of the visual tokens that are left, as in the field's tables (192, 128, 64 of 576).
SHARES = (1 / 3, 2 / 9, 1 / 9)
#: The share and the family that the picture shows.
SHOWN_SHARE, SHOWN_FAMILY = 2 / 9, "character"


def demo(
    out: Annotated[str, typer.Option(help="Folder for the picture.")] = "stsprune-demo",
    scene: Annotated[int, typer.Option(min=0, help="Which test picture.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask the embedded model about a test picture, unpruned and at three budgets."""
    import stsprune
    from stsprune.checkpoints import load_checkpoint
    from stsprune.embedded.questions import questions
    from stsprune.embedded.scenes import scene as draw
    from stsprune.engine.families.base import encoder_side

    quiet_transformers()
    model, processor = load_checkpoint()
    grid = encoder_side(model)
    world = draw("test", scene, grid)
    asked = questions(world)
    budgets: list[int | None] = [None, *(round(share * grid * grid) for share in SHARES)]
    table = {
        budget: _answers(model, processor, world.image, asked, budget and stsprune.STS(budget))
        for budget in budgets
    }

    picture = Path(out) / f"kept-{scene}.png"
    shown = next((i for i, q in enumerate(asked) if q.family == SHOWN_FAMILY), 0)
    run = table[round(SHOWN_SHARE * grid * grid)][shown]
    note = f"  ·  unpruned answer: {table[None][shown].answer}  ·  truth: {asked[shown].answer}"
    save_run(picture, model, processor, _pil(world.image), asked[shown].text, run, note)
    if as_json:
        print_json(_document(scene, asked, table, picture))
    else:
        _print(asked, table, picture)


def _pil(pixels: Any) -> Any:
    from PIL import Image

    return Image.fromarray(pixels)


def _answers(model: Any, processor: Any, pixels: Any, asked: list, method: Any) -> list[Answered]:
    from .answer import run

    image = _pil(pixels)
    longest: Any = {"max_new_tokens": 4}  # the answers are words
    run(model, processor, image, asked[0].text, method, **longest)  # warm-up
    return [run(model, processor, image, q.text, method, **longest, repeats=3) for q in asked]


def _summary(asked: list, runs: list[Answered]) -> dict[str, Any]:
    return {
        "right": sum(r.answer == q.answer for q, r in zip(asked, runs, strict=True)),
        "asked": len(asked),
        "visual_tokens": statistics.fmean(r.visual_tokens for r in runs),
        "prefill_ms": statistics.median(r.prefill_ms for r in runs),
        "kv_bytes": statistics.fmean(r.kv_bytes for r in runs),
    }


def _document(scene: int, asked: list, table: dict, picture: Path) -> dict[str, Any]:
    runs = [
        {
            "budget": budget,
            **_summary(asked, row),
            "answers": [
                {"family": q.family, "question": q.text, "truth": q.answer, **asdict(r)}
                for q, r in zip(asked, row, strict=True)
            ],
        }
        for budget, row in table.items()
    ]
    return {"scene": scene, "picture": str(picture), "runs": runs}


def _print(asked: list, table: dict[int | None, list[Answered]], picture: Path) -> None:
    names = ["unpruned" if b is None else f"budget {b}" for b in table]
    rows = []
    for i, question in enumerate(asked):
        answers = [row[i].answer for row in table.values()]
        marks = [f"{a} {'✓' if a == question.answer else '✗'}" for a in answers]
        rows.append([question.text, question.answer, *marks])
    print_table("answers (✓ right, ✗ wrong)", ["question", "truth", *names], rows)
    costs = []
    for name, row in zip(names, table.values(), strict=True):
        s = _summary(asked, row)
        costs.append(
            [
                name,
                f"{s['right']}/{s['asked']}",
                f"{s['visual_tokens']:.1f} of {row[0].of}",
                f"{s['prefill_ms']:.1f}",
                short_bytes(s["kv_bytes"]),
            ]
        )
    columns = ["", "#right", "#visual tokens per layer", "#prefill ms", "#KV cache"]
    print_table("cost (this machine; prefill includes image encoder and selection)", columns, costs)
    typer.echo(f"picture: {picture}")
