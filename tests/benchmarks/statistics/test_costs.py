"""Points beside bytes and seconds, from records made by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fl_bench.benchmarks.grid.cell import Cell
from fl_bench.benchmarks.records.record import Outcome
from fl_bench.benchmarks.statistics.costs import Spent, costs, read_spent
from fl_bench.benchmarks.statistics.pairs import against_control
from fl_bench.benchmarks.statistics.result import Options
from fl_bench.benchmarks.statistics.study import Study
from fl_bench.benchmarks.statistics.table import Table

if TYPE_CHECKING:
    from fl_bench.benchmarks.records.store import Store

MakeCell = Callable[..., Cell]
MakeOutcome = Callable[..., Outcome]
MakeTable = Callable[..., Table]


def test_what_was_spent_is_the_mean_over_seeds_with_public_inputs(
    store: Store, cell_of: MakeCell, outcome: MakeOutcome
) -> None:
    # Two rounds of 400 up, 200 down in the second, and 1000 once: 2000. Seconds 3 and 5.
    for seed, seconds in enumerate((3.0, 5.0)):
        store.write(cell_of("fedmd", seed), outcome({"client": [50.0, 60.0]}, seconds=seconds))
    ((place, spent),) = read_spent(store.records()).items()
    assert (place[0], place[2]) == ("digits", "fedmd")
    assert spent == Spent(bytes=2000.0, seconds=4.0)


def spent_on(study: Study, ratios: list[float]) -> dict[tuple[str, str, str], Spent]:
    found = {}
    for at, ratio in zip(study.table.conditions, ratios, strict=True):
        found[at.dataset, at.setting, "a"] = Spent(100 * ratio, 3.0)
        found[at.dataset, at.setting, "b"] = Spent(100, 6.0)
    return found


def test_geometric_means_and_one_interval_for_all(table_of: MakeTable) -> None:
    # `a` is ahead by 1 to 8 points and takes 2^that times as many bytes: points and the logarithm of bytes share their
    # draws, so their intervals are each other's image.
    gains = np.arange(1.0, 9.0)
    values = np.stack([70 + gains, np.full(8, 70.0)], axis=1)[:, None]
    study = Study(table_of(values, methods=["a", "b"]), Options(control="b"), "b")
    (cost,) = costs(study, against_control(study), spent_on(study, (2**gains).tolist()))
    assert (cost.method, cost.other, cost.families) == ("a", "b", 8)
    assert cost.points.value == pytest.approx(4.5)
    assert cost.bytes is not None
    assert cost.seconds is not None
    assert cost.bytes.value == pytest.approx(2**4.5)
    assert (cost.seconds.value, cost.seconds.low, cost.seconds.high) == pytest.approx((0.5, 0.5, 0.5))
    assert cost.points.low is not None
    assert 1 < cost.points.low < 4.5
    assert cost.bytes.low == pytest.approx(2**cost.points.low)
    assert cost.bytes.high == pytest.approx(2 ** (cost.points.high or 0))


def test_who_sends_nothing_has_no_ratio_and_few_data_sets_no_interval(table_of: MakeTable) -> None:
    study = Study(table_of(np.full((5, 1, 2), 60.0), methods=["a", "b"]), Options(control="b"), "b")
    (cost,) = costs(study, against_control(study), spent_on(study, [1.0, 0.0, 1.0, 1.0, 1.0]))
    assert cost.bytes is None
    assert cost.points.low is None
    assert cost.seconds is not None
    assert (cost.seconds.value, cost.seconds.low) == (0.5, None)


def test_data_sets_of_one_family_count_once(table_of: MakeTable) -> None:
    # Differences 1 and 3 of one family, 8 of another: (2 + 8) / 2; bytes 2, 8 and 16 times: sqrt(4 * 16).
    values = np.stack([70 + np.array([1.0, 3.0, 8.0]), np.full(3, 70.0)], axis=1)[:, None]
    table = table_of(values, methods=["a", "b"])
    families = ("one", "one", "two")
    table = replace(
        table, conditions=tuple(replace(at, family=name) for at, name in zip(table.conditions, families, strict=True))
    )
    study = Study(table, Options(control="b"), "b")
    (cost,) = costs(study, against_control(study), spent_on(study, [2.0, 8.0, 16.0]))
    assert cost.families == 2
    assert cost.points.value == pytest.approx(5.0)
    assert cost.bytes is not None
    assert cost.bytes.value == pytest.approx(8.0)
