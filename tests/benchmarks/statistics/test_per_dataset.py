"""Intervals on one data set against SciPy's own."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fl_bench.benchmarks.statistics.per_dataset import bca_interval, t_interval


def test_t_interval_is_scipys() -> None:
    differences = np.array([1.0, 2.5, 0.5, 3.0])
    found = t_interval(differences, 0.1)
    assert found is not None
    expected = stats.ttest_1samp(differences, 0)
    assert found[:2] == pytest.approx(tuple(expected.confidence_interval(0.9)))
    assert found[2] == pytest.approx(expected.pvalue)


@pytest.mark.parametrize("differences", [[1.0], [2.0, 2.0, 2.0], [0.3 - 0.2, 0.1]])
def test_no_interval_without_spread(differences: list[float]) -> None:
    assert t_interval(np.array(differences), 0.05) is None


def test_bca_leans_towards_the_long_tail() -> None:
    differences = np.array([0.0, 0.1, 0.2, 0.3, 0.5, 5.0, 0.2, 0.1] * 3)
    found = bca_interval(differences, 0.05, np.random.default_rng(0))
    assert found is not None
    mean = differences.mean()
    assert found[1] - mean > 1.5 * (mean - found[0])


@pytest.mark.parametrize("differences", [list(range(19)), [1.0] * 20])
def test_no_bca_of_few_or_equal_seeds(differences: list[float]) -> None:
    assert bca_interval(np.array(differences), 0.05, np.random.default_rng(0)) is None
