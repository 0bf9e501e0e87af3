"""The plugin knows a vLLM by its source, not by its number."""

import textwrap

import pytest

from stsprune.errors import InvalidArgumentError, UnsupportedModeError
from stsprune.serving import evidence
from stsprune.serving.evidence import check_source, compare, read_symbol, releases, symbol_of

SOURCE = '''
class Runner:
    """A runner."""

    @property
    def load(self, path, *, deep=True, **more):
        """Loads."""
        # a comment
        name = f"{path!r} of {self}"
        return (name, deep,
                more)

    def silent(self):
        """Does nothing."""
'''
#: The same tokens: other comments, docstrings and lines.
REWRITTEN = '''
def other(): pass

class Runner:
    def before(self): return 1
    @property
    def load(self, path, *, deep=True, **more):
        """Loads a file,

        as a user would.
        """
        name = f"{path!r} of {self}"

        return (name, deep, more)  # done
'''
NAME = "vllm.worker.runner:Runner.load"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A folder of source, its table, and a way to change it."""
    (tmp_path / "worker").mkdir()
    file = tmp_path / "worker" / "runner.py"

    def write(source):
        evidence._read.cache_clear()
        file.write_text(source)

    write(SOURCE)
    known = {NAME: {"0.32": ("(self, path)", "x"), "0.33": tuple(read_symbol(tmp_path, NAME))}}
    monkeypatch.setattr(evidence, "KNOWN", known)
    monkeypatch.setattr(evidence, "installed", lambda: tmp_path)
    return write


def test_docstrings_comments_and_lines_do_not_count():
    symbol = symbol_of(SOURCE, "Runner.load")
    assert symbol.signature == "(self, path, *, deep, **more)"
    assert symbol == symbol_of(REWRITTEN, "Runner.load")
    # The same under every Python: f-strings are one token before 3.12, many after.
    assert symbol.digest == "ba39792c088d5f8b"
    assert symbol_of(SOURCE, "Runner.silent") is not None
    assert symbol_of(SOURCE, "Runner.gone") is None
    assert symbol_of(textwrap.dedent(SOURCE), "Runner").signature == ""


@pytest.mark.parametrize(
    "change",
    [
        ("deep=True", "deep=False"),
        ("(name, deep", "(deep, name"),
        ("{self}", "{path}"),
        ("@prop", "@pr"),
    ],
)
def test_what_counts(change):
    changed = SOURCE.replace(*change)
    assert changed != SOURCE
    assert symbol_of(changed, "Runner.load") != symbol_of(SOURCE, "Runner.load")


def test_a_known_source_whatever_its_number(root):
    assert check_source({}, "9.9") == "0.33"
    root(REWRITTEN)
    assert check_source({}, "9.9") == "0.33"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("self}", "path}"), "Runner.load has another body"),
        (("self, path", "self, file"), r"takes \(self, file, .*not .*\(self, path\)"),
        (("def load", "def read"), "Runner.load is gone"),
    ],
)
def test_an_unknown_source_is_named(root, change, said):
    root(SOURCE.replace(*change))
    with pytest.raises(UnsupportedModeError, match=said) as error:
        check_source({}, "0.34.0")
    assert "vLLM 0.34.0 is not one" in str(error.value)
    assert check_source({"STSPRUNE_VLLM": "untested"}, "0.34.0") == "untested"


def test_a_wrong_setting(root):
    with pytest.raises(InvalidArgumentError, match="STSPRUNE_VLLM must be tested or untested"):
        check_source({"STSPRUNE_VLLM": "yes"}, "0.32.0")


def test_a_mixture_of_tested_releases(root, tmp_path):
    old, new = ("", symbol_of(SOURCE, "Runner").digest), read_symbol(tmp_path, NAME)
    known = {"vllm.worker.runner:Runner": {"0.32": old}, NAME: {"0.33": tuple(new)}}
    assert compare(tmp_path, known) == ("a mixture of tested releases", [])


def test_the_table():
    assert releases() == ["0.32", "0.33"]
    assert all(set(one) == {"0.32", "0.33"} for one in evidence.KNOWN.values())
    assert len(evidence.KNOWN) > 60
