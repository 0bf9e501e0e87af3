"""lmms-eval's own command line on a local task: the answers are those that stsprune gives itself.

SceneQA's answers are one token, and stsprune reads no more: tasks ask for no more either.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import stsprune
from stsprune.evaluation.sceneqa import accuracy, answers, load_items

pytestmark = pytest.mark.lmms

COMMAND = Path(__file__).with_name("lmms_command.py")
TASK = """
task: sceneqa_local
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_visual: !function sceneqa_local.picture
doc_to_text: "{{{{question}}}}"
doc_to_target: "answer"
generation_kwargs: {{max_new_tokens: 1}}
metric_list:
  - {{metric: exact_match, aggregation: mean, higher_is_better: true}}
metadata: [{{version: 1.0}}]
"""
PICTURE = """
from PIL import Image

def picture(doc):
    return [Image.open(doc["image"])]
"""
#: Name -> (what `--model_args` says of the method, batch size); "fraction" runs from a flat command
#: line, the others from a config file.
RUNS = {
    "unpruned": ("method=none", 8),
    "sts": ("method=sts,budget=16", 5),
    "tight": ("method=sts,budget=4,positions=compact,queries=last", 8),
    "fraction": ("method=divprune,budget=0.1", 8),
    "wrong": ("method=sts,budget=0", 8),
}
ITEMS = load_items("test", 8)


def launch(*words, cache):
    """lmms-eval in a process of its own, offline."""
    local = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(cache), "HF_DATASETS_CACHE": str(cache / "data")}
    return subprocess.Popen(
        [sys.executable, str(COMMAND), *map(str, words)],
        env=os.environ | local,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def outcome(folder):
    """(accuracy, visual tokens per layer, answers in order) of a finished run."""
    (results,) = folder.rglob("*_results.json")
    (samples,) = folder.rglob("*_samples_*.jsonl")
    document = json.loads(results.read_text())
    said = sorted(map(json.loads, samples.read_text().splitlines()), key=lambda one: one["doc_id"])
    return (
        document["results"]["sceneqa_local"]["exact_match,none"],
        document.get("throughput", {}).get("avg_visual_tokens_per_layer"),
        [one["filtered_resps"] for one in said],
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with the task."""
    home = tmp_path_factory.mktemp("lmms")
    rows = []
    for number, item in enumerate(ITEMS):
        path = home / f"{number}.png"
        Image.fromarray(item.scene.image).save(path)
        question = {"question": item.question.text, "answer": item.question.answer}
        rows.append({"image": str(path)} | question)
    (home / "data.json").write_text(json.dumps(rows))
    tasks = home / "tasks"
    tasks.mkdir()
    (tasks / "sceneqa_local.yaml").write_text(TASK.format(data=home / "data.json"))
    (tasks / "sceneqa_local.py").write_text(PICTURE)
    return home


@pytest.fixture(scope="module")
def printed(home):
    """All of `RUNS`, each into its folder, by two commands side by side; what they printed."""
    tasks = home / "tasks"
    said = {
        name: f"pretrained=embedded,device=cpu,{method},batch_size={batch}"
        for name, (method, batch) in RUNS.items()
    }
    common = {"model": "stsprune", "tasks": "sceneqa_local", "include_path": str(tasks)}
    configs = [
        common | {"model_args": one, "output_path": str(home / name), "log_samples": True}
        for name, one in said.items()
        if name != "fraction"
    ]
    (home / "runs.yaml").write_text(json.dumps(configs))  # JSON is YAML
    running = [
        launch("--config", home / "runs.yaml", cache=home / "cache"),
        launch(
            *("--model", "stsprune", "--model_args", said["fraction"].rpartition(",")[0]),
            *("--tasks", "sceneqa_local", "--include_path", tasks, "--batch_size", 8),
            *("--output_path", home / "fraction", "--log_samples"),
            cache=home / "other cache",
        ),
    ]
    texts = [process.communicate(timeout=900)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], texts
    return "".join(texts)


@pytest.fixture(scope="module")
def embedded():
    return stsprune.load_embedded()


def own(embedded, method, positions="original"):
    """Accuracy and answers as stsprune measures them."""
    given = answers(*embedded, ITEMS, method, positions)
    return accuracy(ITEMS, given)["all"], given


@pytest.mark.parametrize(
    ("name", "method", "positions", "tokens"),
    [
        ("unpruned", None, "original", None),
        ("sts", stsprune.STS(16), "original", 16),
        ("tight", stsprune.STS(4, queries="last"), "compact", 4),
        ("fraction", stsprune.methods()["divprune"](0.1), "original", 14.4),
    ],
)
@pytest.mark.usefixtures("printed")
def test_equals_stsprunes_own_measure(name, method, positions, tokens, home, embedded):
    score, seen, said = outcome(home / name)
    expected, given = own(embedded, method, positions)
    assert said == given
    assert score == pytest.approx(expected)
    if tokens is None:
        assert seen is None
    else:
        assert tokens - 1 < seen <= tokens


@pytest.mark.usefixtures("printed")
def test_runs_differ(home):
    """A control: the comparison above would see a method or a budget that is not applied."""
    unpruned, sts, tight = (outcome(home / name) for name in ("unpruned", "sts", "tight"))
    assert tight[0] < sts[0] <= unpruned[0]
    assert tight[2] != sts[2]


def test_wrong_argument_names_itself(printed, home):
    assert "budget must be an int >= 1 (tokens) or a float in (0, 1] (fraction), got 0" in printed
    assert not (home / "wrong").exists()


def test_tasks_that_score_given_answers_are_refused():
    from stsprune.lmms.model import StsPrune

    model = StsPrune.create_from_arg_string("pretrained=embedded,budget=9", {"device": "cpu"})
    with pytest.raises(stsprune.StsPruneError, match="output_type generate_until"):
        model.loglikelihood([])
    with pytest.raises(stsprune.StsPruneError, match="several rounds"):
        model.generate_until_multi_round([])


def test_arguments_before_options():
    """The base class fails with a TypeError where both name the batch size."""
    from stsprune.lmms.model import StsPrune

    beside = {"batch_size": "1", "device": "cpu", "max_batch_size": None}
    model = StsPrune.create_from_arg_string("pretrained=embedded,budget=9,batch_size=3", beside)
    assert (model.batch_size, model.device.type) == (3, "cpu")
    with pytest.raises(stsprune.StsPruneError, match="model_args must be name=value"):
        StsPrune.create_from_arg_string("embedded", beside)
