"""The table: what is averaged, what is a gap, what is left when gaps are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fl_bench.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.benchmarks.statistics.table import Table

GAP = np.nan


def test_seeds_first_then_settings(table_of: Callable[..., Table]) -> None:
    # x: settings of means 1 and 4; as one block 2.5, as two 1 and 4
    table = table_of(np.array([[[0.0], [2.0]], [[3.0], [5.0]]]), datasets=["x", "x"], settings=["a", "b"])
    assert table.block_means("dataset").tolist() == [[2.5]]
    assert table.block_means("setting").tolist() == [[1.0], [4.0]]
    assert table.block_labels("dataset") == ("x",)
    assert table.block_labels("setting") == ("x [a]", "x [b]")


def test_a_mean_over_fewer_seeds_is_none(table_of: Callable[..., Table]) -> None:
    means = table_of(np.array([[[1.0, 5.0], [GAP, 7.0]]])).block_means("dataset")
    assert np.isnan(means[0, 0])
    assert means[0, 1] == 6.0


def test_gaps_have_names(table_of: Callable[..., Table]) -> None:
    table = table_of(np.array([[[1.0, GAP], [2.0, 3.0]]]), methods=["a", "b"], datasets=["x"])
    assert [str(gap) for gap in table.gaps()] == ["b on x, seed 0: missing"]


def test_complete_keeps_seeds_that_all_have(table_of: Callable[..., Table]) -> None:
    values = np.array([[[1.0, GAP], [2.0, 3.0]], [[4.0, GAP], [5.0, GAP]]])
    complete = table_of(values).complete()
    assert complete.datasets == ("d00",)
    assert complete.conditions[0].seeds == (1,)
    assert complete.conditions[0].accuracy == ((2.0,), (3.0,))
    assert complete.gaps() == ()


def test_common_seeds_keeps_conditions_that_some_lack(table_of: Callable[..., Table]) -> None:
    values = np.array([[[1.0, GAP, 8.0], [2.0, 3.0, 9.0]], [[4.0, GAP, 1.0], [5.0, GAP, 2.0]]])
    common = table_of(values).common_seeds()
    assert [condition.seeds for condition in common.conditions] == [(1,), (0, 1)]
    assert np.isnan(common.block_means("dataset")[1, 1])


def test_fewer_methods_need_fewer_seeds(table_of: Callable[..., Table]) -> None:
    values = np.array([[[1.0, GAP], [GAP, 3.0]], [[GAP, 1.0], [GAP, 2.0]]])
    only = table_of(values, methods=["a", "b"]).take_methods(["a"])
    assert [(condition.dataset, condition.seeds) for condition in only.conditions] == [("d00", (0,))]
    with pytest.raises(ConfigError, match="did you mean 'a'"):
        only.take_methods(["aa"])


def test_diverged_runs_at_the_accuracy_of_guessing(table_of: Callable[..., Table]) -> None:
    table = table_of(np.array([[[1.0, GAP]]]), methods=["a", "b"], classes=4)
    condition = replace(table.conditions[0], status=(("done",), ("diverged",)))
    filled, diverged = replace(table, conditions=(condition,)).with_chance()
    assert filled.conditions[0].accuracy == ((1.0,), (25.0,))
    assert filled.gaps() == ()
    assert [gap.method for gap in diverged] == ["b"]
    with pytest.raises(DataError, match="number of classes is unknown"):
        replace(table, conditions=(replace(condition, classes=None),)).with_chance()
