"""Ratios and tables of a run whose figures are known."""

from __future__ import annotations

import pytest
from small import document

from stsprune.bench.summary import break_even, summarise
from stsprune.bench.tables import batch_tables, first_tables, heading, markdown
from stsprune.bench.timing import spread


def row_of(name):
    [group] = summarise(document())
    return next(row for row in group["rows"] if row["name"] == name)


def test_ratios_are_taken_round_by_round():
    row = row_of("sts")
    assert row["speedup"]["median"] == pytest.approx((10 / 5 + 20 / 16) / 2)
    assert row["over_floor"]["median"] == pytest.approx((5 / 4 + 16 / 10) / 2)
    assert row["floor_share"]["median"] == pytest.approx((4 / 5 + 10 / 16) / 2)
    assert row["overhead"]["median"] == 0.5
    assert row["flops_share"] == 0.3
    assert row["kv_share"] == 0.25
    assert row["peak_bytes"] is None


def test_the_cache_must_have_the_bytes_of_the_theory():
    assert row_of("sts")["kv_exact"]
    changed = document()
    changed["groups"][0]["contestants"][2]["rounds"][1]["kv_bytes"] += 1
    [group] = summarise(changed)
    row = next(row for row in group["rows"] if row["name"] == "sts")
    assert not row["kv_exact"]
    sizes = batch_tables(group)[2]
    assert sizes.rows[2][sizes.columns.index("exact")] == "NO"


def test_an_interrupted_round_counts_where_it_has_a_partner():
    cut = document()
    cut["groups"][0]["contestants"][2]["rounds"].pop()
    [group] = summarise(cut)
    row = next(row for row in group["rows"] if row["name"] == "sts")
    assert row["speedup"] == spread([2.0]).as_dict()


def test_a_batch_without_a_measurement_is_left_out():
    empty = document()
    for one in empty["groups"][0]["contestants"]:
        one["rounds"].clear()
    assert summarise(empty) == []


def test_break_even_is_read_off_the_unpruned_times():
    curve = [(10, 2.0), (20, 3.0), (50, 9.0)]
    assert break_even(curve, 2.5) == 15
    assert break_even(curve, 6.0) == 35
    assert break_even(curve, 1.0) == 10  # no slower than the smallest that was measured
    assert break_even(curve, 9.5) is None
    assert break_even([(10, 3.0), (20, 3.0), (50, 9.0)], 3.0) == 10
    # the floor's medians: 20 tokens take 7 ms, 100 take 15
    assert row_of("sts")["break_even"] == pytest.approx(20 + 80 * (10.5 - 7) / 8)
    assert row_of("dart")["break_even"] is None
    assert row_of("floor")["break_even"] is None


def test_the_ceiling_and_the_ratios_come_first():
    run = document()
    [group] = summarise(run)
    tables = [*first_tables(run), *batch_tables(group)]
    titles = [table.title.split(": ")[-1] for table in tables]
    assert titles == ["ceiling", "selection alone", "ratios", "milliseconds", "sizes"]
    assert all(len(row) == len(table.columns) for table in tables for row in table.rows)
    assert "2 TFLOP/s, 5 GB/s" in tables[0].notes[0]


def test_losing_is_said():
    [group] = summarise(document())
    ratios = batch_tables(group)[0]
    last = {row[0]: row[-1] for row in ratios.rows}
    assert last == {"unpruned": "", "floor": "", "sts": "", "dart": "loses"}
    even = ratios.columns.index("#break-even")
    assert {row[0]: row[even] for row in ratios.rows}["dart"] == "> 100"
    assert "fastv at 20: budget must be more" in ratios.notes


def test_markdown_holds_every_row():
    run = document()
    [group] = summarise(run)
    text = markdown(batch_tables(group))
    assert "| sts | 20 | 1.62x |" in text
    assert text.count("| dart | 20 |") == 3
    assert heading(run).startswith("geometry:tiny, float32, attention sdpa, on a processor, 2 thr")
