"""Hodges-Lehmann: R's worked example, the interval by trying every shift, margins by the one-sided test."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fl_bench.benchmarks.statistics.shift import hodges_lehmann, p_equivalent, p_not_worse, shift_interval
from fl_bench.benchmarks.statistics.signed_rank import signed_rank

DEPRESSION = np.array([1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]) - np.array(
    [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]
)
"""Hamilton depression scale of nine patients before and after, Hollander and Wolfe (1973), as in R's `wilcox.test`."""

few_values = arrays(float, st.integers(6, 12), elements=st.integers(-3, 3).map(float))


def test_the_example_of_hollander_and_wolfe() -> None:
    # R: wilcox.test(x, y, paired = TRUE, conf.int = TRUE) gives 0.46 and 0.010 to 0.786.
    assert hodges_lehmann(DEPRESSION) == pytest.approx(0.46)
    assert shift_interval(DEPRESSION, 0.05) == pytest.approx((0.010, 0.786))


def test_the_shift_is_the_median_of_walsh_averages() -> None:
    # 1, 2 and 6: averages 1, 1.5, 2, 3.5, 4, 6, whose median is 2.75; the mean is 3.
    assert hodges_lehmann([6.0, 1.0, 2.0]) == 2.75


@given(few_values)
def test_the_interval_is_what_trying_every_shift_gives(values: np.ndarray) -> None:
    edges = np.unique((values[:, None] + values) / 2)
    kept = [(low, high) for low, high in pairwise(edges) if signed_rank(values - (low + high) / 2).p > 0.05]
    expected = (kept[0][0], kept[-1][1]) if kept else (hodges_lehmann(values),) * 2
    assert shift_interval(values, 0.05) == pytest.approx(expected)


@given(few_values)
def test_a_significant_test_points_where_the_shift_points(values: np.ndarray) -> None:
    # Also where the mean points the other way: 0.1, ..., 0.9 and -20 have a mean below zero.
    test, interval = signed_rank(values), shift_interval(values, 0.05)
    assert interval is not None
    if test.p <= 0.05:
        assert hodges_lehmann(values) * (test.w_plus - test.w_minus) >= 0
        assert not interval[0] < 0 < interval[1]


def test_five_blocks_allow_no_interval() -> None:
    # Five of one sign have p = 2 / 2^5 = .0625, so no shift can be rejected at .05; at .1 all beyond the ends are.
    assert shift_interval([1.0, 2.0, 3.0, 4.0, 5.0], 0.05) is None
    assert shift_interval([1.0, 2.0, 3.0, 4.0, 5.0], 0.1) == (1.0, 5.0)


def test_margins() -> None:
    # All six lie above -1 and below 1, so each side has p = 1 / 2^6; against a margin of 0.35 one lies outside, the
    # farthest from it after the shift: d + 0.35 is positive throughout, d - 0.35 = -.15 -.55 -.25 .05 -.45 -.35 has
    # only the smallest positive: P(W- >= 20) = 2 / 64.
    differences = np.array([0.2, -0.2, 0.1, 0.4, -0.1, 0.0])
    assert p_equivalent(differences, 1.0) == 1 / 64
    assert p_not_worse(differences, 0.35) == 1 / 64
    assert p_equivalent(differences, 0.35) == 2 / 64
    assert p_not_worse(-differences, 0.35) == 2 / 64
    assert p_equivalent(differences, 0.0) >= 0.5
