"""Effect sizes by hand, and the hierarchical bootstrap against its exact moments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats

from fl_bench.benchmarks.statistics import effects

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.benchmarks.statistics.table import Table


def stream() -> np.random.Generator:
    return np.random.default_rng(5)


def test_bootstrap_moments(table_of: Callable[..., Table]) -> None:
    # Two data sets with one setting and two seeds: 0, 2 and 10, 14. A draw is the mean of two drawn data sets of means
    # of two drawn seeds. Mean: (1 + 12) / 2. Variance: that of the drawn means between data sets, 5.5^2, plus that
    # within, the mean of 1 / 2 and 4 / 2 (population variances 1 and 4 over two seeds); all over two data sets.
    table = table_of(np.array([[[0.0], [2.0]], [[10.0], [14.0]]]))
    draws = effects.bootstrap_means(table, 40_000, stream())[:, 0]
    assert draws.mean() == pytest.approx(6.5, abs=0.05)
    assert draws.var() == pytest.approx((5.5**2 + (0.5 + 2.0) / 2) / 2, rel=0.02)


def test_settings_are_drawn_inside_their_data_set(table_of: Callable[..., Table]) -> None:
    # One data set, settings worth 0 and 4, one seed: draws are 0, 2 and 4 with weights 1/4, 1/2, 1/4.
    table = table_of(np.array([[[0.0]], [[4.0]]]), datasets=["x", "x"], settings=["a", "b"])
    values, counts = np.unique(effects.bootstrap_means(table, 4000, stream())[:, 0], return_counts=True)
    assert values.tolist() == [0, 2, 4]
    assert counts / 4000 == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


def test_methods_are_drawn_together(table_of: Callable[..., Table]) -> None:
    numbers = np.random.default_rng(0).normal(size=(4, 3, 1))
    table = table_of(np.concatenate([numbers, numbers + 2], axis=2))
    draws = effects.bootstrap_means(table, 100, stream())
    np.testing.assert_allclose(draws[:, 1] - draws[:, 0], 2)


def test_other_methods_change_no_draw(table_of: Callable[..., Table]) -> None:
    numbers = np.random.default_rng(0).normal(size=(4, 3, 3))
    table = table_of(numbers)
    alone = effects.bootstrap_means(table.take_methods(["m01"]), 50, stream())[:, 0]
    np.testing.assert_array_equal(alone, effects.bootstrap_means(table, 50, stream())[:, 1])


def test_the_interval_is_as_wide_as_students() -> None:
    # Means of resamples of D numbers are nearly normal with variance s^2 (D - 1) / D / D: the widened percentiles give
    # the interval of Student's t.
    values = np.random.default_rng(1).normal(size=20)
    draws = values[stream().integers(20, size=(100_000, 20))].mean(axis=1)
    found = effects.wide_percentiles(draws, 20, 0.05)
    assert found is not None
    expected = stats.t.interval(0.95, 19, values.mean(), values.std(ddof=1) / 20**0.5)
    assert found == pytest.approx(expected, abs=0.03)


def test_percentiles_are_widened_for_few_data_sets() -> None:
    # Draws that are exactly normal: the quantile at Phi(z) is z = sqrt(6 / 5) * t_{.025, 5} = 1.0954 * -2.5706.
    draws = stats.norm.ppf((np.arange(400_000) + 0.5) / 400_000)
    assert effects.wide_percentiles(draws, 6, 0.05) == pytest.approx((-2.8159, 2.8159), abs=1e-3)


@pytest.mark.parametrize(("datasets", "there"), [(1, False), (5, False), (6, True)])
def test_no_interval_from_few_data_sets(datasets: int, there: bool) -> None:
    # 2^(1 - 5) = .0625 > .05 >= 2^(1 - 6)
    assert (effects.wide_percentiles(np.arange(100.0), datasets, 0.05) is not None) == there


def test_probability_of_improvement(table_of: Callable[..., Table]) -> None:
    # first data set: wins, ties and loses a seed each: 1.5 of 3; second: wins all; mean (0.5 + 1) / 2
    ours = np.array([[3.0, 2, 1], [5, 5, 5]])
    theirs = np.array([[2.0, 2, 2], [4, 4, 4]])
    table = table_of(np.stack([ours, theirs], axis=2), methods=["ours", "theirs"])
    assert effects.probability_of_improvement(table, "ours", "theirs") == 0.75
    assert effects.probability_of_improvement(table, "theirs", "ours") == 0.25


def test_win_tie_loss_has_a_margin() -> None:
    # a difference as large as the margin is a tie, whatever floating point makes of 1.1 - 0.1
    assert effects.win_tie_loss(np.array([2.0, 1.1 - 0.1, 0, -1, -1.5]), 1.0) == (1, 3, 1)


def test_means_are_over_data_sets_not_runs(table_of: Callable[..., Table]) -> None:
    # x has two settings (0 and 2), y one (7): (1 + 7) / 2, not (0 + 2 + 7) / 3
    table = table_of(np.array([[[0.0]], [[2.0]], [[7.0]]]), datasets=["x", "x", "y"], settings=["a", "b", "a"])
    assert effects.overall_means(table).tolist() == [4.0]
