"""The first screen: verdicts as sentences say them, differences to the right for better methods, scales that fit."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fl_bench.benchmarks.figures.blocks import read_blocks
from fl_bench.benchmarks.leaderboard.lines import lines
from fl_bench.benchmarks.records.store import Store
from fl_bench.benchmarks.report.by_dataset import by_dataset
from fl_bench.benchmarks.report.clients import of_clients
from fl_bench.benchmarks.report.finding import ranking, views
from fl_bench.benchmarks.statistics.comparison import compare
from fl_bench.benchmarks.statistics.costs import Spent
from fl_bench.benchmarks.statistics.plan import Plan
from fl_bench.benchmarks.statistics.reading import read_records
from fl_bench.benchmarks.statistics.result import Options
from fl_bench.benchmarks.statistics.table import Condition, Table

if TYPE_CHECKING:
    from pathlib import Path

    from fl_bench.benchmarks.statistics.result import Comparison

NAMES = ("best", "ours", "same", "weak")


def compared(blocks: int = 10, plan: Plan | None = None, spread: float = 0.05) -> Comparison:
    """`ours` is 2 points behind `best`, level with `same` and 6 ahead of `weak` on every data set."""
    noise = np.random.default_rng(0).normal(0, spread, (blocks, 4))
    conditions = []
    for place in range(blocks):
        levels = 70 + place + np.array([2, 0, 0, -6]) + noise[place]
        row = tuple((float(level),) for level in levels)
        conditions.append(Condition(f"d{place}", "", "", 10, (0,), row, (("done",),) * 4))
    table = Table(NAMES, tuple(conditions), "the last round", "untuned")
    return compare(table, Options(control="ours"), plan)


@pytest.fixture(scope="module")
def result() -> Comparison:
    return compared()


def test_lines_say_who_beats_the_control(result: Comparison) -> None:
    own, *others = views(result)
    assert (own.control, own.own) == ("ours", True)
    assert [(line.words, line.methods) for line in own.said] == [
        ("better than", ("best",)),
        ("worse than", ("weak",)),
        ("equivalent to", ("same",)),
        ("undecided against", ()),
    ]
    assert [view.control for view in others] == ["best", "same", "weak"]
    (best,) = [view for view in others if view.control == "best"]
    assert not best.own
    assert best.said[1].methods == ("ours", "same", "weak")
    assert [line.words for line in best.said] == [
        "better than",
        "worse than",
        "undecided against",
    ]  # none is equivalent


def test_better_methods_stand_to_the_right_on_a_scale_with_the_control_at_zero(result: Comparison) -> None:
    view = views(result)[0]
    ((_, rows),) = view.families
    assert [row.method for row in rows] == ["best", "same", "weak"]
    best, same, weak = rows
    assert (best.difference, weak.difference) == pytest.approx((2, -6), abs=0.1)
    assert best.text == f"{best.difference:+.2f} (+1.93 to +2.02)"
    for row in rows:
        assert row.low is not None
        assert row.high is not None
        assert 0 <= row.low <= row.mean <= row.high <= 100
    assert weak.mean < view.rope[0] < same.mean < view.rope[1] < best.mean
    # From -6.1 to 2.02 by about six ticks: every two points, from -8 to 4; zero is at 8 / 12.
    assert [text for _, text in view.ticks] == ["-8", "-6", "-4", "-2", "0", "+2", "+4"]
    assert view.zero == pytest.approx(100 * 8 / 12, abs=0.01)
    places = dict(zip([text for _, text in view.ticks], [place for place, _ in view.ticks], strict=True))
    assert view.zero == places["0"]
    scale = (places["+2"] - places["0"]) / 2  # percent of the width per point
    assert best.mean == pytest.approx(view.zero + scale * best.difference, abs=0.05)


def test_with_few_blocks_intervals_are_those_of_each_pair_alone_and_dotted() -> None:
    view = views(compared(blocks=6))[0]
    ((_, rows),) = view.families
    assert [row.possible for row in rows] == [False] * 3  # the least p of six blocks is 1/32, and three are tested
    assert all(row.low is not None for row in rows)
    assert "of each pair alone" in view.caption
    assert "no difference can be significant" in view.caption
    said = {line.words: line.methods for line in view.said}
    assert said["undecided against"] == ("best", "weak")
    assert said["equivalent to"] == ("same",)  # shown by one-sided tests, for which six blocks suffice


def test_with_fewer_blocks_there_are_no_intervals() -> None:
    view = views(compared(blocks=5))[0]  # the least p of five blocks is 1/16
    assert all(row.low is None for _, rows in view.families for row in rows)
    assert "No intervals" in view.caption
    assert "dotted" not in view.caption.lower()


def test_families_are_kept_apart_and_only_the_first_one_is_ranked() -> None:
    plan = Plan((("methods", ("best", "weak")), ("bounds", ("same",))), declared=True)
    result = compared(plan=plan)
    view = views(result)[0]
    assert [(family, [row.method for row in rows]) for family, rows in view.families] == [
        ("methods", ["best", "weak"]),
        ("bounds", ["same"]),
    ]
    assert view.said[-1].words == "bounds: equivalent to"
    ranked, apart = ranking(result, {})
    assert [row.method for row in ranked] == ["best", "ours", "weak"]
    assert [row.method for row in apart] == ["same"]
    assert {row.method for row in (*ranked, *apart) if row.bytes.text} == set()


def test_one_wide_interval_does_not_press_all_others_together(result: Comparison) -> None:
    wide = replace(result.decisions[0], low=-500.0, high=500.0)
    view = views(replace(result, decisions=(wide, *result.decisions[1:])))[0]
    row = next(row for _, rows in view.families for row in rows if row.method == wide.method)
    assert row.cut == "low high"
    assert (row.low, row.high) == (0, 100)


def test_costs_are_geometric_means_over_data_sets(result: Comparison) -> None:
    # 10 bytes on one half of the data sets and 1000 on the other: 100 in the geometric mean.
    spent = {
        (f"d{place}", "", name): Spent(0.0 if name == "weak" else 10.0 if place % 2 else 1000.0, 4.0)
        for place in range(10)
        for name in NAMES
    }
    rows = {row.method: row for row in ranking(result, spent)[0]}
    assert rows["ours"].bytes.value == pytest.approx(100)
    assert rows["ours"].bytes.text == "100 B"
    assert rows["ours"].seconds.text == "4.0 s"
    assert rows["weak"].bytes.text == "0 B"


def test_methods_by_data_sets_with_all_differences(filled: Path) -> None:
    records = Store(filled).records()
    scored = lines(records)
    result = compare(read_records(records, "last"), Options(control="cosmos", on_missing="complete-blocks"))
    table = by_dataset(scored, {"local"}, result)
    assert table.methods[-1] == "local" or table.apart == 0
    assert [column.name for column in table.columns] == ["digits", "optdigits"]
    accuracies = dict(zip(table.methods, table.values["accuracy"], strict=True))
    assert accuracies["cosmos"] == [75.5, 80.5]
    assert accuracies["fedavg"] == [65.5, 70.0]  # the seed that diverged is in no mean
    assert dict(zip(table.methods, table.values["worst 10 %"], strict=True))["fedmd"] == [60.5, 65.5]
    assert "val" not in table.values  # nobody measured it
    assert (
        dict(zip(table.methods, table.values["bytes"], strict=True))["fedmd"][0] == 3 * 400 + 2 * 200 + 1000
    )  # and the public inputs once
    assert table.differences is not None
    first, second = table.methods[:2]
    mean, half = table.differences[0][0][0] or (None, None)
    assert mean == round(accuracies[first][0] - accuracies[second][0], 2)  # type: ignore[operator]  # both have numbers
    assert half is None  # both seeds differ by as much: no spread, no interval
    without = by_dataset(scored, {"local"}, None)
    assert without.differences is None
    assert without.methods == ("cosmos", "fedmd", "fedavg", "local")
    assert without.apart == 1


def test_clients_are_there_as_deciles(filled: Path) -> None:
    digits, optdigits = of_clients(read_blocks(Store(filled).records()))
    assert (digits["dataset"], optdigits["dataset"]) == ("digits", "optdigits")
    assert digits["deciles"]["cosmos"] == {"clients": 2, "mean": 50.0, "values": [50.0] * 11}
    assert digits["clusters"] == {}
