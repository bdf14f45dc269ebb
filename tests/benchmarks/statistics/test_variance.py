"""Shares of the seed variance by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fl_bench.benchmarks.statistics.variance import seed_variance

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.benchmarks.statistics.table import Table


def with_levels(table: Table, levels: list[tuple[str, ...]]) -> Table:
    conditions = tuple(replace(condition, levels=tuple(levels)) for condition in table.conditions)
    return replace(table, conditions=conditions, factors=("partition", "init"))


def test_one_factor_at_a_time(table_of: Callable[..., Table]) -> None:
    # partitions 0 1 2 with init 0: 10 12 14, variance 4; inits 0 1 with partition 0: 10 11, variance 1/2
    levels = [("0", "0"), ("1", "0"), ("2", "0"), ("0", "1")]
    table = with_levels(table_of(np.array([[[10.0], [12.0], [14.0], [11.0]]])), levels)
    partition, init = seed_variance(table)
    assert (partition.factor, partition.levels, partition.degrees, partition.std) == ("partition", 3, 2, 2.0)
    assert (init.factor, init.levels, init.degrees) == ("init", 2, 1)
    assert init.std == pytest.approx(0.5**0.5)


def test_crossed_factors_recover_their_variances(table_of: Callable[..., Table]) -> None:
    generator = np.random.default_rng(0)
    partitions, inits = generator.normal(0, 3, 40), generator.normal(0, 1, 40)
    runs = (partitions[:, None] + inits[None, :]).reshape(1, 1600, 1)
    table = with_levels(table_of(runs), [(str(a), str(b)) for a in range(40) for b in range(40)])
    partition, init = seed_variance(table)
    assert (partition.std, init.std) == (pytest.approx(partitions.std(ddof=1)), pytest.approx(inits.std(ddof=1)))


def test_a_factor_that_never_varies_alone_has_no_share(table_of: Callable[..., Table]) -> None:
    table = with_levels(table_of(np.array([[[10.0], [12.0]]])), [("0", "0"), ("1", "1")])
    assert [part.std for part in seed_variance(table)] == [None, None]


def test_one_seed_for_all_has_no_shares(table_of: Callable[..., Table]) -> None:
    assert seed_variance(table_of(np.zeros((2, 3, 2)))) == ()
