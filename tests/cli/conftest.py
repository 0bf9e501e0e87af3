"""An untrained copy of the embedded model on disk: right shapes, real processor, random answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from stsprune.cli import app


@pytest.fixture(scope="session")
def untrained(tmp_path_factory) -> Path:
    from stsprune.embedded.load import export
    from stsprune.embedded.model import build_model

    folder = tmp_path_factory.mktemp("models") / "untrained"
    export(build_model(), folder)
    return folder


@pytest.fixture
def embedded_is_untrained(untrained, monkeypatch):
    """`embedded` means the untrained model."""
    monkeypatch.setattr("stsprune.embedded.load.WEIGHTS", untrained)


@pytest.fixture
def picture(tmp_path) -> Path:
    path = tmp_path / "picture.png"
    Image.new("RGB", (120, 90), "red").save(path)
    return path


@pytest.fixture
def call():
    """Run the program in this process: call("ask", ...) -> result (exit_code, stdout, stderr)."""
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def refused(call):
    """Run the program on bad input and return its message: one line on stderr, exit code 2."""

    def run(*words) -> str:
        result = call(*words)
        assert result.exit_code == 2, result.output
        assert result.stdout == ""
        assert result.stderr.startswith("stsprune: ")
        assert result.stderr.count("\n") == 1
        assert "Traceback" not in result.stderr
        return result.stderr

    return run
