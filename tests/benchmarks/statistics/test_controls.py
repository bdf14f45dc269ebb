"""Any method as the control: the same verdicts as a comparison that was asked with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fl_bench.benchmarks.statistics.comparison import compare
from fl_bench.benchmarks.statistics.controls import against_each
from fl_bench.benchmarks.statistics.plan import Plan
from fl_bench.benchmarks.statistics.result import Options

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from fl_bench.benchmarks.statistics.table import Table


def numbers() -> np.ndarray:
    generator = np.random.default_rng(1)
    return generator.uniform(50, 90, (9, 1, 1)) + np.array([0, 3.0, 3.2, -4]) + generator.normal(0, 0.5, (9, 3, 4))


def test_each_control_is_told_what_a_comparison_with_it_says(
    table_of: Callable[..., Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fl_bench.benchmarks.statistics.effects.DRAWS", 50)
    table = table_of(numbers(), methods=["a", "b", "c", "d"])
    found = {one.control: one for one in against_each(compare(table, Options(control="a")))}
    assert list(found) == ["a", "b", "c", "d"]
    assert [name for name, one in found.items() if one.own] == ["a"]
    for name, one in found.items():
        asked = compare(table, Options(control=name))
        assert (one.decisions, one.joint) == (asked.decisions, asked.joint)
    assert {row.verdict for row in found["d"].decisions} == {"better"}


def test_families_that_were_declared_belong_to_the_control_that_was(table_of: Callable[..., Table]) -> None:
    table = table_of(numbers(), methods=["a", "b", "c", "d"])
    plan = Plan((("methods", ("b", "c")), ("bounds", ("d",))), declared=True)
    own, other, *_ = against_each(compare(table, Options(control="a"), plan))
    assert [(row.method, row.family, row.tests) for row in own.decisions] == [
        ("b", "methods", 2),
        ("c", "methods", 2),
        ("d", "bounds", 1),
    ]
    assert {(row.family, row.tests, row.planned) for row in other.decisions} == {("methods", 3, 3)}


def test_a_method_that_shares_no_block_with_another_is_no_control(table_of: Callable[..., Table]) -> None:
    values = numbers()[:8]
    values[:4, :, 2] = np.nan
    values[4:, :, 3] = np.nan  # c and d never meet
    plan = Plan((("methods", ("b", "c")), ("bounds", ("d",))), declared=True)
    options = Options(control="a", on_missing="skillings-mack")
    result = compare(table_of(values, methods=["a", "b", "c", "d"]), options, plan)
    assert [one.control for one in against_each(result)] == ["a", "b"]
