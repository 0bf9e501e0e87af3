"""`stsprune eval`: every method on the same questions at the same budgets, and a report of it."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

import stsprune

from .terminal import print_json, print_table, quiet_transformers

if TYPE_CHECKING:
    from stsprune.viz.rows import Document


def evaluate(
    given: typer.Context,
    benchmark: Annotated[str, typer.Option(help="sceneqa or sceneqa2.")] = "sceneqa",
    split: Annotated[str, typer.Option(help="validation or test.")] = "test",
    scenes: Annotated[int, typer.Option(min=1, help="Pictures, 8 to 12 questions each.")] = 300,
    method: Annotated[str, typer.Option(help="Names, with commas, or all.")] = "all",
    budget: Annotated[
        str, typer.Option(help="Tokens or fractions, with commas; by default the benchmark's own.")
    ] = "",
    seeds: Annotated[int, typer.Option(min=1, help="Runs of methods with a seed.")] = 3,
    positions: Annotated[str, typer.Option(help="original or compact.")] = "original",
    settings: Annotated[str, typer.Option(help="tuned (on validation) or default.")] = "tuned",
    recipe: Annotated[
        str | None,
        typer.Option(help="A recipe.json: its method with its settings, all at its budget."),
    ] = None,
    any_model: Annotated[
        bool, typer.Option("--any-model", help="Take a recipe of another model.")
    ] = False,
    processes: Annotated[int, typer.Option(min=1, help="Processes at work.")] = 2,
    out: Annotated[
        Path, typer.Option(help="Folder of results and report; resumed when it exists.")
    ] = Path("stsprune-eval"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare methods on SceneQA with an embedded model; writes tables, plots and a report."""
    from stsprune.atomic import write_json, write_text
    from stsprune.embedded import load_embedded
    from stsprune.engine.prune import POSITIONS
    from stsprune.errors import InvalidArgumentError
    from stsprune.evaluation.benchmarks import find_benchmark
    from stsprune.evaluation.gallery import gallery
    from stsprune.evaluation.jobs import make_jobs, tuned_settings
    from stsprune.evaluation.runner import Setup, missing, model_shape, open_folder, run
    from stsprune.evaluation.summary import as_csv, summarise
    from stsprune.selection.budget import kept_tokens
    from stsprune.viz.report import save_report

    from .arguments import check_fixed, is_ablation, pick_names, pick_recipe, token_budgets
    from .terminal import answering

    asked = find_benchmark(benchmark)
    for name, value, allowed in (
        ("split", split, ("validation", "test")),
        ("settings", settings, ("tuned", "default")),
        ("positions", positions, POSITIONS),
    ):
        if value not in allowed:
            raise InvalidArgumentError(f"{name} must be {' or '.join(allowed)}, got {value!r}")
    found = pick_recipe(recipe, given, "budget", "positions")
    if found is not None:
        check_fixed(found, "eval compares methods at equal ones")
    quiet_transformers()
    names = pick_names(method)
    shape = model_shape(benchmark)
    budget = budget or asked.budgets
    budgets = token_budgets(budget, shape[0])
    chosen = tuned_settings(benchmark) if settings == "tuned" else {}
    if found is not None:
        if not any_model:
            found.check_model(load_embedded(asked.size)[0])
        names = list(dict.fromkeys([*names, found.method_name]))
        budgets = [kept_tokens(found.method.budget, shape[0])]
        chosen = {**chosen, found.method_name: found.settings()}
        positions = found.positions
    jobs, refused = make_jobs(names, budgets, *shape, seeds, chosen)
    setup = Setup(split, scenes, positions, benchmark=benchmark)
    open_folder(out, setup)
    todo = missing(out, setup, jobs)
    with answering() as bar:
        answered = setup.questions() * len(jobs) // max(len(setup.shards()), 1)
        bar.start("answering", answered * len(todo))
        run(out, setup, jobs, processes, bar.advance)
    document = summarise(out, setup, jobs, refused, shape)
    document["command"] = (
        f"stsprune eval --benchmark {benchmark} --split {split} --scenes {scenes} "
        f"--method {method} --budget {budget} "
        f"--seeds {seeds} --positions {positions} --settings {settings}"
    )
    if found is not None:
        document["command"] += f" --recipe {recipe}"
    document |= {"settings": settings, "seeds": seeds, "versions": versions()}
    document["ablations"] = [name for name in names if is_ablation(name)]
    write_json(out / "summary.json", document)
    write_text(out / "summary.csv", as_csv(document))
    save_report(out, cast("Document", document), gallery(setup, names, budgets, chosen))
    if as_json:
        print_json(document)
        return
    _print(document)
    typer.echo(f"report: {out / 'report.html'}", err=True)


def _print(document: dict[str, Any]) -> None:
    families, rows = document["families"], document["rows"]
    whole = next(row["flops"] for row in rows if row["budget"] is None)
    print_table(
        f"SceneQA {document['split']}: {document['questions']} questions, mean of the families",
        [
            "method",
            "#budget",
            "#accuracy %",
            "#95 % interval",
            "#of unpruned %",
            "#same answer %",
            "#KL",
            "#FLOPs %",
            "#STS wins:loses",
        ],
        [
            [
                *_name(row),
                f"{100 * row['accuracy']['mean'][0]:.1f}",
                "{:.1f} - {:.1f}".format(*(100 * end for end in row["accuracy"]["mean"][1:])),
                f"{100 * row['relative']:.1f}",
                f"{100 * row['agreement']:.1f}",
                f"{row['kl']:.3f}",
                f"{100 * row['flops'] / whole:.0f}",
                _against(row),
            ]
            for row in rows
        ],
    )
    typer.echo("* p < 0.05, ** p < 0.01, *** p < 0.001 (exact McNemar test, Holm's correction)\n")
    print_table(
        "accuracy in % per family of questions",
        ["method", "#budget", *(f"#{name}" for name in families)],
        [
            ["blind", "", *_percents(document["blind"], families)],
            *([*_name(row), *_percents(row["accuracy"], families)] for row in rows),
        ],
    )
    worst = min(document["without"], key=lambda cell: cell["lead"], default=None)
    if worst is not None:
        without = f"without {worst['without']!r}" if worst["without"] else "over all families"
        typer.echo(
            f"STS against the best other method, any one family left out: at worst "
            f"{100 * worst['lead']:+.1f} points, at {worst['budget']} {without} ({worst['best']})"
        )
    for cell in document["refused"]:
        typer.echo(f"{cell['name']} at {cell['budget']}: {cell['reason']}")


def _name(row: dict[str, Any]) -> list[str]:
    return [row["name"], "" if row["budget"] is None else str(row["budget"])]


def _against(row: dict[str, Any]) -> str:
    test = row.get("against")
    return f"{test['wins']}:{test['losses']}{_stars(test['p_holm'])}" if test else ""


def _percents(accuracy: dict[str, list[float]], families: list[str]) -> list[str]:
    return [f"{100 * accuracy[name][0]:.1f}" for name in families]


def _stars(p: float) -> str:
    return " " + "*" * sum(p < level for level in (0.05, 0.01, 0.001)) if p < 0.05 else ""


def versions() -> dict[str, str]:
    """Name -> version of this package and of what its figures depend on."""
    return {
        "stsprune": stsprune.__version__,
        **{name: version(name) for name in ("torch", "transformers", "numpy")},
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }
