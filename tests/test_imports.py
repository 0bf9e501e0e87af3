"""The house's rules: one direction of imports, nothing heavy at import, the public names."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import stsprune

ROOT = Path(stsprune.__file__).parent
#: package -> what it may import of stsprune
ALLOWED = {
    "errors": set(),
    "chat": set(),
    "words": set(),
    "recipes": {"errors", "method", "engine"},
    "selection": {"errors"},
    "method": {"errors", "selection"},
    "engine": {"errors", "selection", "method"},
    "embedded": {"errors", "engine"},
    "evaluation": {"errors", "selection", "method", "engine", "embedded", "atomic", "chat"},
    "viz": {"errors", "engine", "atomic"},
    "bench": {"errors", "atomic", "selection", "method", "engine"},
    "calibration": {
        *("errors", "selection", "method", "engine", "recipes"),
        *("atomic", "images", "chat", "words", "viz"),
    },
    # It times with the benchmark's clock and asks about the embedded scenes.
    "checking": {"errors", "method", "engine", "bench", "embedded"},
    "question": {"errors", "chat", "words"},
    # It shows anybody's model; of the package's own it draws scenes, of calibration it takes the
    # forced answer.
    "explore": {
        *("errors", "method", "engine", "embedded", "calibration"),
        *("images", "question", "viz"),
    },
    "serving": {"errors", "selection", "method", "engine", "recipes"},
    # A plugin opens any checkpoint and prunes it; it needs nothing of the package's own benchmark.
    "lmms": {"errors", "method", "engine", "checkpoints", "images", "chat", "recipes"},
}


def imported(file: Path) -> set[str]:
    """First-level stsprune packages that a file imports."""
    here = file.relative_to(ROOT).with_suffix("").parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.level:
            base = here[: len(here) - node.level + 1]
            names = [(*base, *(node.module or "").split("."))]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stsprune."):
            names = [tuple(node.module.split(".")[1:])]
        elif isinstance(node, ast.Import):
            names = [tuple(a.name.split(".")[1:]) for a in node.names if "stsprune." in a.name]
        found |= {name[0] for name in names if name and name[0]}
    return found


@pytest.mark.parametrize("package", ALLOWED)
def test_directions(package):
    home = ROOT / package
    files = list(home.rglob("*.py")) if home.is_dir() else [ROOT / f"{package}.py"]
    assert files
    for file in files:
        assert imported(file) - {package} <= ALLOWED[package], file


def test_import_is_light():
    code = "import sys, stsprune; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_exist_also_after_everything_is_loaded():
    import stsprune.engine
    import stsprune.method

    for name in stsprune.__all__:
        assert getattr(stsprune, name) is not None
    assert callable(stsprune.methods)
    assert set(stsprune.__all__) <= set(dir(stsprune))
    with pytest.raises(AttributeError, match="nonsense"):
        _ = stsprune.nonsense


def test_every_test_module_has_a_name_of_its_own():
    """pytest imports them by their bare names: of two alike it collects one and fails."""
    names = [one.name for one in Path(__file__).parent.rglob("*.py")]
    common = {"conftest.py", "__init__.py"}
    assert not {name for name in names if names.count(name) > 1} - common
