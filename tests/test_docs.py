"""Every command and Python block of the site is run here, or says why not."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from stsprune.embedded.scenes import scene

ROOT = Path(__file__).parents[1]
PAGES = [
    *sorted((ROOT / "docs").glob("**/*.md")),
    ROOT / "benchmarks" / "README.md",
    ROOT / "CONTRIBUTING.md",
]
BLOCK = re.compile(
    r"(?:<!-- not run: ([^\n]+) -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
INDENTED = re.compile(r"^ {4,}(stsprune|make|pip|python|pytest|vllm|lmms-eval) ", re.MULTILINE)
REASONS = {
    "needs weights",
    "needs vLLM",
    "takes minutes",
    "takes hours",
    "shows a form",
    "make release-check does, in clean environments",
    "the checks themselves",
}
#: Run word for word by a test of its own.
ELSEWHERE = {"docs/add_a_family.md": "tests/engine/test_add_a_family.py"}
#: What is run with less than it says: the same command, fewer scenes.
SHORTER = {
    "--prompts 400 --start 300": "--prompts 40 --start 300",
    "eval --scenes 500": "eval --scenes 1 --method random --budget 16 --seeds 1",
    "--out compared": "--out compared --scenes 1 --method random --seeds 1",
    "--out timed": "--out timed --rounds 1 --answers 1 --tokens 2 --batch 1",
    "tune --out runs/tune": "tune --out runs/tune --method visionzip --budget 16 --scenes 1",
    "--tokens 32768 --keep 1024": "--tokens 256 --keep 8",
    "stsprune check": "stsprune check --json",
    "--model geometry:tiny": "--model geometry:tiny --methods sts --rounds 1 --answers 1 --out t",
}
#: What Python blocks take for granted.
GIVEN = """
import stsprune
from stsprune.evaluation import encode, load_items
model, processor = stsprune.load_embedded()
inputs = encode(processor, load_items("validation", 1)[:1])
"""


@dataclass(frozen=True)
class Block:
    """A fenced block; reason: why it is not run, empty where it is."""

    page: str
    kind: str
    text: str
    reason: str


def blocks(path: Path) -> list[Block]:
    name = str(path.relative_to(ROOT))
    return [Block(name, kind, text, why) for why, kind, text in BLOCK.findall(path.read_text())]


BLOCKS = [block for path in PAGES for block in blocks(path)]
RUN = [
    block
    for block in BLOCKS
    if block.kind in ("bash", "python") and not block.reason and block.page not in ELSEWHERE
]


def commands(text: str) -> list[str]:
    """A line each, continued lines joined."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def shortened(command: str) -> str:
    for long, short in SHORTER.items():
        command = command.replace(long, short)
    return command


def test_blocks_say_what_they_are():
    for block in BLOCKS:
        assert block.kind in ("bash", "python", "text"), block
        assert not block.reason or block.reason in REASONS, block
        if block.kind == "text":
            assert not re.match(r"(stsprune|make|pip|python) (?!.*\[--)", block.text), block
    for path in PAGES:
        outside = BLOCK.sub("", path.read_text())
        assert "```" not in outside, path
        assert not INDENTED.search(outside), f"{path.name}: a command outside a fence"
        assert "<!-- not run:" not in outside, f"{path.name}: a mark without its block"


def test_what_is_run_elsewhere_names_its_page():
    for page, test in ELSEWHERE.items():
        assert Path(page).name in (ROOT / test).read_text()


def test_what_is_shortened_is_there():
    text = "\n".join(block.text for block in RUN)
    assert [long for long in SHORTER if long not in text] == []
    assert len(RUN) > 10


@pytest.mark.parametrize("page", sorted({block.page for block in RUN}))
def test_blocks_run(page, tmp_path, monkeypatch):
    """In order, in one folder, with a picture: a later block uses what an earlier one wrote."""
    from typer.testing import CliRunner

    from stsprune.cli import app

    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "benchmarks", "benchmarks", ignore=shutil.ignore_patterns("results"))
    Image.fromarray(scene("test", 0, 12).image).save("photo.png")
    names: dict[str, object] = {}
    for block in (block for block in RUN if block.page == page):
        if block.kind == "python":
            exec(GIVEN, names)
            exec(compile(block.text, page, "exec"), names)
            continue
        for command in commands(block.text):
            words = shlex.split(shortened(command), comments=True)
            if words[0] == "stsprune":
                result = CliRunner().invoke(app, words[1:])
                assert result.exit_code == 0, f"{command}\n{result.output}\n{result.exception}"
            else:
                assert words[0] == "python", command
                path = {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
                subprocess.run([sys.executable, *words[1:]], check=True, env=os.environ | path)


def test_every_method_is_on_its_page():
    from stsprune import methods

    page = (ROOT / "docs" / "methods.md").read_text()
    for name, cls in methods().items():
        assert f"| `{name}` | {cls.__doc__.strip().splitlines()[0]} |" in page
    assert page.count("\n| `") == len(methods())


def test_every_public_name_is_in_the_reference():
    import stsprune

    for name in set(stsprune.__all__) - {"__version__"}:
        text = (ROOT / "docs" / "reference" / f"{name}.md").read_text()
        module, found = re.match(r"::: (\S+)\.(\w+)", text).groups()
        assert found == name
        assert getattr(importlib.import_module(module), name) is getattr(stsprune, name)


FAULTY = {
    "a link to nowhere": ('<a href="../nowhere/">x</a>', "leads nowhere"),
    "an anchor that is missing": ('<a href="#missing">x</a>', "no such place"),
    "a script of another host": ('<script src="https://example.org/a.js"></script>', "loads"),
    "a font of another host": ('<link rel="stylesheet" href="//example.org/a.css">', "loads"),
}


@pytest.mark.parametrize("name", FAULTY)
def test_a_faulty_site_is_found(name, tmp_path):
    spec = importlib.util.spec_from_file_location("check_site", ROOT / ".ci" / "check_site.py")
    check_site = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(check_site)
    for public in check_site.public_names():
        folder = tmp_path / "reference" / public
        folder.mkdir(parents=True)
        (folder / "index.html").write_text(f'<h1 id="stsprune.x.{public}"></h1>')
    page = tmp_path / "index.html"
    page.write_text('<h1 id="top"></h1><a href="#top">x</a><a href="reference/prune/">x</a>')
    assert check_site.faults(tmp_path) == []
    html, fault = FAULTY[name]
    page.write_text(page.read_text() + html)
    (found,) = check_site.faults(tmp_path)
    assert fault in found
    shutil.rmtree(tmp_path / "reference" / "prune")
    assert any("stsprune.prune has no page" in fault for fault in check_site.faults(tmp_path))


@pytest.mark.parametrize(
    "name",
    [
        "STS",
        "EncoderStage",
        "calibrate",
        "check",
        "energy",
        "load_embedded",
        "load_recipe",
        "prune",
        "register_family",
        "repulsion",
    ],
)
def test_docstrings_name_every_argument(name):
    """In sections that tools parse; an argument that comes later is asked for too."""
    import inspect

    import stsprune

    public = getattr(stsprune, name)
    doc = inspect.getdoc(public)
    described = set(re.findall(r"^    (\w+): ", doc[doc.index("Args:") :], re.MULTILINE))
    assert set(inspect.signature(public).parameters) <= described
    assert "Raises:" in doc
