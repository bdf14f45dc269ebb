"""A family of comparisons with one control: what all of it has in common, and what families do not share."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fl_bench.benchmarks.statistics.comparison import compare
from fl_bench.benchmarks.statistics.joint import joint
from fl_bench.benchmarks.statistics.multiple import holm_of_methods
from fl_bench.benchmarks.statistics.pairs import against_control
from fl_bench.benchmarks.statistics.result import Options
from fl_bench.benchmarks.statistics.shift import p_equivalent, p_not_worse, shift_interval
from fl_bench.benchmarks.statistics.signed_rank import signed_rank
from fl_bench.benchmarks.statistics.study import Study

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.benchmarks.statistics.table import Table


@pytest.fixture
def study(table_of: Callable[..., Table]) -> Study:
    """`a`, with `b` (better by 3 and a bit), `c` (alike) and `d` (worse by 2 on most), on twelve data sets."""
    generator = np.random.default_rng(2)
    base = generator.uniform(60, 90, (12, 1, 1))
    values = base + np.array([0, -3, 0, 2]) + generator.normal(0, 0.6, (12, 2, 4))
    values[0, :, 3] -= 30
    table = table_of(150 - values, methods=["a", "b", "c", "d"])
    return Study(table, Options(control="a", rope=1.5), "a")


def test_every_kind_of_verdict(study: Study) -> None:
    pairs = against_control(study)
    b, c, d = joint(study, pairs)
    assert [row.method for row in (b, c, d)] == ["b", "c", "d"]
    assert {row.tests for row in (b, c, d)} == {3}
    assert b.p_max <= 0.05
    assert b.low is not None
    assert b.low > 0
    assert (b.equivalent, b.not_worse) == (False, True)
    assert c.p_max > 0.05
    assert (c.equivalent, c.not_worse) == (True, True)
    # One data set on which `d` is far ahead: its mean is ahead, its shift behind, as the signed rank says.
    assert d.mean > 0
    assert d.shift < 0
    assert pairs[2].w_plus < pairs[2].w_minus
    assert d.shift_high is not None
    assert d.shift_high < 0
    assert (d.equivalent, d.not_worse) == (False, False)
    assert d.low is not None
    assert d.low < 0


def test_margins_are_corrected_over_the_family(study: Study) -> None:
    found = joint(study, against_control(study))
    rows = [study.differences(name, "a") for name in "bcd"]
    asked = [[signed_rank(row).p, p_equivalent(row, 1.5), p_not_worse(row, 1.5)] for row in rows]
    assert [[row.p_equivalent, row.p_not_worse] for row in found] == holm_of_methods(asked, 0.05)[0][:, 1:].tolist()
    without = replace(study, options=replace(study.options, rope=0.0))
    assert {(row.p_equivalent, row.not_worse) for row in joint(without, against_control(without))} == {(1.0, False)}


def test_a_family_does_not_pay_for_another(study: Study) -> None:
    pairs = against_control(study)
    alone, whole = joint(study, pairs[:1])[0], joint(study, pairs)[0]
    assert alone.tests == 1
    assert alone.p_not_worse < whole.p_not_worse
    assert (alone.low, alone.high) == shift_interval(study.differences("b", "a"), 0.05)
    assert (whole.low, whole.high) == shift_interval(study.differences("b", "a"), 0.05 / 3)
    assert joint(study, ()) == ()


def test_pairs_are_attainable_with_the_blocks_that_they_have(table_of: Callable[..., Table]) -> None:
    # Eight data sets, `c` on six of them. The least p are 2^-7 and 2^-5; Holm holds 2^-7 against .025 and then 2^-5
    # against .05. Without two more, c's is 2^-3.
    values = np.random.default_rng(1).normal(70, 2, (8, 2, 3))
    values[:2, :, 2] = np.nan
    options = Options(control="a", on_missing="skillings-mack")
    result = compare(table_of(values, methods=["a", "b", "c"]), options)
    assert [row.attainable for row in result.joint] == [True, True]
    assert [row.low is None for row in result.joint] == [False, True]  # six blocks do not reach .05 / 2
    values[2:4, :, 2] = np.nan
    result = compare(table_of(values, methods=["a", "b", "c"]), options)
    assert [row.attainable for row in result.joint] == [True, False]
    assert result.joint[1].shift_low is None
    assert result.joint[1].low is None


def test_one_block_has_estimates_and_nothing_else(table_of: Callable[..., Table]) -> None:
    result = compare(table_of(np.array([[[80.0, 78.0]]]), methods=["a", "b"]), Options(control="b"))
    (row,) = result.joint
    assert (row.shift, row.mean) == (2.0, 2.0)
    assert (row.shift_low, row.low, row.attainable, row.equivalent, row.not_worse) == (None, None, False, False, False)
    assert row.p_max == 1.0
