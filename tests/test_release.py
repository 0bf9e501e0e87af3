"""What a release rests on agrees: versions, workflows, the targets and scripts that they name."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text()


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def commands(workflow: Path) -> str:
    """All that a workflow's steps run."""
    jobs = load(workflow)["jobs"].values()
    return "\n".join(step["run"] for job in jobs for step in job["steps"] if "run" in step)


def missing(text: str) -> list[str]:
    """Make targets and scripts that a text names and the project lacks."""
    named = re.findall(r"^\s*make ([^\n#]+)", text, re.MULTILINE)
    targets = [word for line in named for word in line.split() if re.fullmatch(r"[a-z-]+", word)]
    scripts = re.findall(r"(?<![\w/])((?:\.ci|tests|benchmarks)/[\w./-]*\w)", text)
    return [
        *(name for name in targets if not re.search(rf"^{name}:", MAKEFILE, re.MULTILINE)),
        *(path for path in scripts if not (ROOT / path).exists()),
    ]


def test_versions_agree() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert load(ROOT / "CITATION.cff")["version"] == version
    heading = re.search(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert heading
    final = version.partition(".dev")[0]
    if version == final:
        assert re.fullmatch(rf"{re.escape(final)} - \d{{4}}-\d\d-\d\d", heading[1])
    else:
        assert heading[1] == f"{final} (unreleased)"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflow(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert all("timeout-minutes" in job for job in workflow["jobs"].values())
    assert "secrets." not in path.read_text()
    assert commands(path)
    assert missing(commands(path)) == []


def test_scripts_name_what_exists() -> None:
    for path in (".ci/run", ".ci/release-check", "Makefile", ".pre-commit-config.yaml"):
        assert missing((ROOT / path).read_text()) == [], path
    for script in ("run", "release-check"):
        assert (ROOT / ".ci" / script).stat().st_mode & 0o111


def test_missing_names_are_found() -> None:
    text = "make lint nothing RELEASES=5.6.0\n.ci/nothing\npython tests/matrix.py tests/nothing.py"
    assert missing(text) == ["nothing", ".ci/nothing", "tests/nothing.py"]


def test_matrix_is_the_makefiles() -> None:
    jobs = load(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]
    releases = re.search(r"^RELEASES \?= (.+)$", MAKEFILE, re.MULTILINE)
    assert releases
    assert jobs["transformers"]["strategy"]["matrix"]["release"] == releases[1].split()
    assert ".ci/run" in [step.get("run") for step in jobs["run"]["steps"]]


def test_upload_follows_the_check() -> None:
    workflow = load(ROOT / ".github" / "workflows" / "release.yml")
    build, publish = workflow["jobs"]["build"], workflow["jobs"]["publish"]
    checks = [step for step in build["steps"] if step.get("run") == "make release-check"]
    assert checks[0]["env"] == {"TAG": "${{ github.ref_name }}"}
    assert publish["needs"] == "build"
    assert publish["permissions"] == {"id-token": "write"}
    assert not any("run" in step for step in publish["steps"])


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_issue_form(path: Path) -> None:
    form = load(path)
    if path.name == "bug.yml":
        asked = {field["id"]: field for field in form["body"]}
        assert "stsprune check" in asked["check"]["attributes"]["label"]
        assert "--json" in asked["check"]["attributes"]["label"]
        assert asked["check"]["validations"]["required"]


def test_commit_hook_is_make_lint() -> None:
    (repository,) = load(ROOT / ".pre-commit-config.yaml")["repos"]
    assert [hook["entry"] for hook in repository["hooks"]] == ["make lint"]
    assert load(ROOT / ".github" / "dependabot.yml")["version"] == 2
