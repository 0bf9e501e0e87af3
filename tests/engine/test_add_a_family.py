"""docs/add_a_family.md, followed word for word."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest
from test_generic import forget_registered  # noqa: F401
from typer.testing import CliRunner

from stsprune.cli.app import app
from stsprune.engine.compat import MASKS_PER_LAYER
from stsprune.engine.register import _FACTS, _FUNCTIONS

DOCUMENT = (Path(__file__).parents[2] / "docs" / "add_a_family.md").read_text()
BLOCKS = re.findall(r"```(python|text)\n(.*?)```", DOCUMENT, re.DOTALL)
COMMANDS = re.findall(r"^(stsprune .*)$", DOCUMENT, re.MULTILINE)

pytestmark = pytest.mark.skipif(
    not MASKS_PER_LAYER, reason="before 5.19 the example's features have no `pooler_output`"
)


@pytest.mark.usefixtures("forget_registered")
def test_every_block_runs_and_prints_what_it_says():
    assert [kind for kind, _ in BLOCKS].count("text") == 2
    names, printed = {"__name__": "document"}, io.StringIO()
    for kind, text in BLOCKS:
        if kind == "text":
            assert printed.getvalue() == text
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(text, "docs/add_a_family.md", "exec"), names)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.filterwarnings("ignore:family 'generic' guesses")
def test_every_command_works(command):
    program, *words = shlex.split(command)
    assert program == "stsprune"
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output


def test_the_table_is_what_can_be_stated():
    facts = re.findall(r"^\| `(\w+)` \|", DOCUMENT, re.MULTILINE)
    assert sorted(facts) == sorted((*_FACTS, *_FUNCTIONS))
