"""The notebooks run, and what is committed as their output is what they give."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from notebooks import FOLDER, read, run, texts

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
NUMBER = re.compile(r"\d+(?:\.\d+)?")


def alike(shown: str, committed: str) -> bool:
    """The same words; numbers within 5 %: another processor may round one answer otherwise."""
    if NUMBER.sub("#", shown).split() != NUMBER.sub("#", committed).split():
        return False
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(committed), strict=True)
    return all(abs(float(a) - float(b)) <= 0.05 * max(float(a), float(b)) for a, b in pairs)


def test_there_are_four():
    assert [path.stem for path in NOTEBOOKS] == [
        "add_a_method",
        "attention_collapse",
        "calibrate",
        "five_minutes",
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_those_of_a_run(path: Path):
    committed = read(path)
    assert path.stat().st_size < 400_000
    fresh = run(committed)
    for shown, kept in zip(texts(fresh), texts(committed), strict=True):
        assert len(shown) == len(kept)
        assert all(map(alike, shown, kept)), f"{shown}\nis not\n{kept}"


@pytest.mark.parametrize(
    ("shown", "committed", "same"),
    [
        ("budget 16  97.4%", "budget 16  97.4%", True),
        ("budget 16  97.4%", "budget 16  94.9%", True),
        ("budget 16  97.4%", "budget 16  89.7%", False),
        ("exact", "not exact", False),
        ("16 16", "16", False),
    ],
)
def test_alike(shown: str, committed: str, same: bool):
    assert alike(shown, committed) is same


def test_a_cell_that_fails_is_not_hidden():
    cell = {"cell_type": "code", "source": ["1 / 0"], "outputs": []}
    with pytest.raises(ZeroDivisionError):
        run({"cells": [cell]})
