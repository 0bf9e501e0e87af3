"""Whether the vLLM that is installed is one that the plugin was tested with: by its source.

What the plugin overrides, calls or relies on is a table in `known.py`. The source is read, not
imported, and compared token for token, without docstrings, comments and formatting: a release that
changed none of it is as good as the one that was tested.

Run `python -m stsprune.serving.evidence 0.34` to print the table with the installed vLLM's column
added, once the live tests pass with it.
"""

from __future__ import annotations

import ast
import hashlib
import io
import re
import sys
import tokenize
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from stsprune.errors import InvalidArgumentError, UnsupportedModeError

from .known import KNOWN

#: What lets a server start with a vLLM that differs.
ACCEPT = "STSPRUNE_VLLM"
Table = Mapping[str, Mapping[str, tuple[str, str]]]
_LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER}
_BLOCKS = {tokenize.NEWLINE: ";", tokenize.INDENT: "{", tokenize.DEDENT: "}"}


class Symbol(NamedTuple):
    """One function or class of a source file, as far as it is compared.

    signature: names of the arguments of a function, empty for a class; digest: of its tokens.
    """

    signature: str
    digest: str


def check_source(environment: Mapping[str, str], version: str) -> str:
    """Compare the installed vLLM with `KNOWN` -> the release whose source it has, or "untested".

    Raises InvalidArgumentError for a wrong `STSPRUNE_VLLM` and UnsupportedModeError that names what
    differs, unless `STSPRUNE_VLLM=untested` accepts that.
    """
    accept = environment.get(ACCEPT, "").strip().lower()
    if accept not in ("", "tested", "untested"):
        raise InvalidArgumentError(f"{ACCEPT} must be tested or untested, got {accept!r}")
    release, differs = compare(installed())
    if not differs:
        return release
    if accept == "untested":
        return "untested"
    raise UnsupportedModeError(
        f"vLLM {version} is not one that stsprune was tested with ({', '.join(releases())}): "
        f"{'; '.join(differs)}. Install one of these, set {ACCEPT}=untested to try this one, or "
        "unset STSPRUNE_BUDGET to serve unpruned"
    )


def compare(root: Path, known: Table | None = None) -> tuple[str, list[str]]:
    """(the newest release all of whose symbols are found, what else differs and how).

    Symbols may be mixed of several releases: each of them must be as in one that was tested.
    """
    known = KNOWN if known is None else known
    differs = []
    found: dict[str, Symbol | None] = {}
    for name, by_release in known.items():
        found[name] = symbol = read_symbol(root, name)
        if symbol is None:
            differs.append(f"{name} is gone")
        elif symbol not in by_release.values():
            signatures = {signature for signature, _ in by_release.values()}
            if symbol.signature in signatures:
                differs.append(f"{name} has another body")
            else:
                differs.append(f"{name} takes {symbol.signature}, not {' or '.join(signatures)}")
    alike = [
        release
        for release in releases(known)
        if all(by_release.get(release) == found[name] for name, by_release in known.items())
    ]
    return (alike[-1] if alike else "a mixture of tested releases"), differs


def releases(known: Table | None = None) -> list[str]:
    """The releases in the table, oldest first."""
    known = KNOWN if known is None else known
    names = {release for by_release in known.values() for release in by_release}
    return sorted(names, key=lambda name: [int(part) for part in name.split(".")])


def installed() -> Path:
    """The folder of the installed vLLM's source."""
    spec = find_spec("vllm")
    if spec is None or not spec.submodule_search_locations:
        raise UnsupportedModeError("vLLM is not installed")
    return Path(next(iter(spec.submodule_search_locations)))


def read_symbol(root: Path, name: str) -> Symbol | None:
    """`vllm.module:Class.function` of the source below `root`; None where there is none."""
    module, _, path = name.partition(":")
    file = root.joinpath(*module.split(".")[1:])
    file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
    if not file.exists():
        return None
    return symbol_of(_read(file), path)


@lru_cache(maxsize=4)
def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8")


@lru_cache(maxsize=4)
def _parsed(source: str) -> ast.Module:
    return ast.parse(source)


def symbol_of(source: str, path: str) -> Symbol | None:
    """A function or class of a module's source, by its qualified name."""
    node: ast.AST = _parsed(source)
    for part in path.split("."):
        inside = [
            child
            for child in getattr(node, "body", [])
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and child.name == part
        ]
        if not inside:
            return None
        node = inside[-1]
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    lines = source.splitlines(keepends=True)
    first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
    text = "".join(lines[first - 1 : node.end_lineno])
    docs = {(line - first + 1, column) for line, column in _docstrings(node)}
    digest = hashlib.sha256("\0".join(_tokens(text, docs)).encode()).hexdigest()[:16]
    signature = "" if isinstance(node, ast.ClassDef) else _signature(node.args)
    return Symbol(signature, digest)


def _docstrings(node: ast.AST) -> Iterator[tuple[int, int]]:
    """Line and column of every docstring below a node."""
    for inner in ast.walk(node):
        if not isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        first = inner.body[0]
        if (
            isinstance(first, ast.Expr)
            and isinstance(first.value, ast.Constant)
            and isinstance(first.value.value, str)
        ):
            yield first.lineno, first.col_offset


def _tokens(text: str, docs: set[tuple[int, int]]) -> Iterator[str]:
    """Tokens of an indented piece of source; the same under every Python."""
    indent = len(text) - len(text.lstrip(" "))
    lines = [re.sub(rf"^ {{0,{indent}}}", "", line) for line in text.splitlines(keepends=True)]
    docs = {(line, column - indent) for line, column in docs}
    depth, start = 0, (0, 0)
    after_doc = False
    for token in tokenize.generate_tokens(io.StringIO("".join(lines)).readline):
        kind = tokenize.tok_name[token.type]
        # Since Python 3.12 an f-string is many tokens; before, a single one.
        if kind == "FSTRING_START":
            start = token.start if depth == 0 else start
            depth += 1
        elif kind == "FSTRING_END":
            depth -= 1
            if depth == 0:
                yield _between(lines, start, token.end)
        elif depth or token.type in _LAYOUT:
            continue
        elif token.type == tokenize.STRING and token.start in docs:
            after_doc = True
        elif token.type in _BLOCKS:
            if not after_doc:
                yield _BLOCKS[token.type]
            after_doc = False
        else:
            yield token.string


def _between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    if start[0] == end[0]:
        return lines[start[0] - 1][start[1] : end[1]]
    middle = lines[start[0] : end[0] - 1]
    return "".join([lines[start[0] - 1][start[1] :], *middle, lines[end[0] - 1][: end[1]]])


def _signature(arguments: ast.arguments) -> str:
    names = [one.arg for one in (*arguments.posonlyargs, *arguments.args)]
    if arguments.vararg:
        names.append(f"*{arguments.vararg.arg}")
    elif arguments.kwonlyargs:
        names.append("*")
    names += [one.arg for one in arguments.kwonlyargs]
    if arguments.kwarg:
        names.append(f"**{arguments.kwarg.arg}")
    return f"({', '.join(names)})"


def main(release: str) -> None:
    """Print the rows of the table with the installed vLLM as `release`."""
    for name, by_release in KNOWN.items():
        rows: dict[str, tuple[str, str]] = {**by_release}
        symbol = read_symbol(installed(), name)
        if symbol is not None:
            rows[release] = symbol
        print(f"    {name!r}: {{")
        for number, one in rows.items():
            print(f"        {number!r}: {tuple(one)!r},")
        print("    },")


if __name__ == "__main__":
    main(*sys.argv[1:])
