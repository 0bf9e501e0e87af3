"""`stsprune tune`: choose the methods' settings on the validation split."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .terminal import print_table, quiet_transformers


def tune(
    out: Annotated[Path, typer.Option(help="Folder of the run; resumed when it exists.")],
    benchmark: Annotated[str, typer.Option(help="sceneqa or sceneqa2.")] = "sceneqa",
    method: Annotated[str, typer.Option(help="Names, with commas, or all.")] = "all",
    budget: Annotated[str, typer.Option(help="Tokens or fractions, with commas.")] = "",
    scenes: Annotated[int, typer.Option(min=1, help="Pictures, 8 to 12 questions each.")] = 100,
    processes: Annotated[int, typer.Option(min=1, help="Processes at work.")] = 2,
) -> None:
    """Search every method's settings on SceneQA's validation split, all in the same way."""
    from stsprune.atomic import write_json
    from stsprune.evaluation.jobs import make_jobs
    from stsprune.evaluation.runner import Setup, describe, model_shape, open_folder
    from stsprune.evaluation.tune import best_trial, rounds, search
    from stsprune.method import methods

    from .arguments import token_budgets
    from .terminal import answering

    quiet_transformers()
    names = list(methods()) if method == "all" else method.split(",")
    shape = model_shape(benchmark)
    budgets = token_budgets(budget or ("32,16" if benchmark == "sceneqa" else "64,32"), shape[0])
    make_jobs(names, budgets, *shape)  # bad input shows before any work is done
    setup = Setup("validation", scenes, figures=False, benchmark=benchmark)
    open_folder(out, setup)
    with answering() as bar:

        def begin(number: int, jobs: int) -> None:
            bar.start(f"round {number + 1} of {rounds(names)}", jobs * setup.questions())

        trials = search(out, setup, names, budgets, shape, processes, begin, bar.advance)
    chosen = {name: best_trial(tried) for name, tried in trials.items()}
    document: dict[str, Any] = {
        **describe(setup),
        "budgets": budgets,
        "chosen": {name: trial.settings for name, trial in chosen.items()},
        "trials": [
            {
                "method": t.name,
                **t.settings,
                "accuracy": {b: round(a, 4) for b, a in t.accuracy.items()},
            }
            for tried in trials.values()
            for t in tried
        ],
    }
    write_json(out / "tuned.json", document)
    print_table(
        f"chosen on {setup.questions()} validation questions, accuracy in %",
        ["method", "settings", "#trials", *(f"#at {b}" for b in budgets)],
        [
            [
                name,
                ", ".join(f"{key} {value}" for key, value in trial.settings.items()) or "default",
                str(len(trials[name])),
                *(
                    f"{100 * trial.accuracy[b]:.1f}" if b in trial.accuracy else "-"
                    for b in budgets
                ),
            ]
            for name, trial in chosen.items()
        ],
    )
