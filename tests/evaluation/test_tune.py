"""The search walks its steps, keeps to one rule for all and can be resumed."""

from __future__ import annotations

import pytest

from stsprune.evaluation.benchmarks import find_benchmark
from stsprune.evaluation.jobs import make_jobs, tuned_settings
from stsprune.evaluation.runner import Setup, model_shape, open_folder, run
from stsprune.evaluation.tune import Trial, accuracies, best_trial, search
from stsprune.method import STS, methods


def test_search_holds_the_best_and_tries_no_setting_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(methods()["vispruner"], "search", ({"important": (0.1, 0.5)},))
    monkeypatch.setattr(methods()["fastv"], "search", ({"layer": (0, 1)},))
    setup, begun = Setup("validation", 2), []
    open_folder(tmp_path / "run", setup)

    def go():
        begun.clear()
        return search(
            tmp_path / "run",
            setup,
            ["vispruner", "fastv"],
            [32, 16],
            model_shape(),
            begin=lambda number, jobs: begun.append((number, jobs)),
        )

    trials = go()
    # 0.5 is VisPruner's default: it is not tried again. FastV's layer 1 cannot reach 32.
    assert [t.settings for t in trials["vispruner"]] == [{}, {"important": 0.1}]
    assert [t.settings for t in trials["fastv"]] == [{}, {"layer": 0}, {"layer": 1}]
    assert set(trials["vispruner"][0].accuracy) == {32, 16}
    assert set(trials["fastv"][0].accuracy) == {32}
    assert trials["fastv"][2].accuracy == {}
    assert begun == [(0, 1 + 3), (1, 1 + 3)]
    monkeypatch.setattr("stsprune.evaluation.runner._Worker.answer", None)  # nothing left to do
    assert go() == trials


def test_every_setting_is_judged_by_its_own_answers(tmp_path, monkeypatch):
    """Settings of one method and budget in one round, against each of them run alone."""
    values = (0.0, 0.25, 1.0)
    monkeypatch.setattr(methods()["structure-only"], "search", ({"space": values},))
    setup, together = Setup("validation", 8, figures=False), tmp_path / "together"
    open_folder(together, setup)
    trials = search(together, setup, ["structure-only"], [8], model_shape())["structure-only"]
    assert [trial.settings for trial in trials] == [{}, *({"space": value} for value in values)]
    alone = []
    for trial in trials:
        folder = tmp_path / str(len(alone))
        open_folder(folder, setup)
        jobs, _ = make_jobs(
            ["structure-only"], [8], *model_shape(), 1, {"structure-only": trial.settings}
        )
        run(folder, setup, jobs)
        alone.append(accuracies(folder, setup, jobs)[jobs[1].stored])
    assert [trial.accuracy[8] for trial in trials] == alone
    assert len(set(alone)) > 2


def test_more_budgets_first_then_accuracy_then_the_earlier():
    wide = Trial("a", {"x": 1}, {32: 0.5, 16: 0.4})
    narrow = Trial("a", {"x": 2}, {32: 0.9})
    equal = Trial("a", {"x": 3}, {32: 0.4, 16: 0.5})
    assert best_trial([narrow, wide, equal]) is wide


def test_the_default_is_not_left_for_noise():
    default = Trial("a", {}, {32: 0.9, 16: 0.8})
    lucky = Trial("a", {"x": 1}, {32: 0.902, 16: 0.802})
    better = Trial("a", {"x": 2}, {32: 0.91, 16: 0.801})
    assert best_trial([default, lucky]) is default
    assert best_trial([default, lucky, better]) is better


@pytest.mark.parametrize("name", methods())
def test_every_step_fits_its_method(name):
    for step in methods()[name].search:
        for setting, values in step.items():
            for value in values:
                assert getattr(methods()[name](1, **{setting: value}), setting) == value


@pytest.mark.parametrize(("benchmark", "budget"), [("sceneqa", 32), ("sceneqa2", 128)])
def test_the_chosen_settings_ship_and_fit(benchmark, budget):
    assert find_benchmark(benchmark).tuned.exists()
    chosen = tuned_settings(benchmark)
    assert set(chosen) == set(methods())
    shape = model_shape(benchmark)
    jobs, refused = make_jobs(list(methods()), [budget], *shape, settings=chosen)
    assert not refused
    assert len(jobs) > len(methods())


def test_the_defaults_of_sts_are_what_the_search_chose():
    assert STS(16, **tuned_settings()["sts"]) == STS(16)
