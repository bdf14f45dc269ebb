"""Largest remainder and exact shares, by hand and for any input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_bench.datasets.rounding import ceil_share, even_shares, floor_share, largest_remainder


def test_largest_remainder_gives_missing_units_to_the_largest_fractions() -> None:
    # 10 * (.55, .27, .18) = 5.5, 2.7, 1.8: floors 5+2+1 = 8, the two missing go to .8 and .7.
    assert largest_remainder(10, np.array([0.55, 0.27, 0.18])).tolist() == [5, 3, 2]


def test_largest_remainder_breaks_ties_by_index() -> None:
    # 5 / 3 = 1 + 2/3 each, thirds are inexact in binary and still tie: two missing units, first two parts.
    assert largest_remainder(5, np.array([1.0, 1.0, 1.0])).tolist() == [2, 2, 1]


@given(total=st.integers(0, 10_000), weights=st.lists(st.floats(0, 1e6), min_size=1, max_size=40))
def test_largest_remainder_shares_everything_within_one_unit(total: int, weights: list[float]) -> None:
    w = np.array([*weights, 1.0])
    units = largest_remainder(total, w)
    assert units.sum() == total
    assert (np.abs(units - total * w / w.sum()) <= 1 + 1e-6).all()
    assert (units[w == 0] == 0).all() or total * w[w > 0].min() / w.sum() < 1e-6


def test_even_shares_of_emnist_classes() -> None:
    # methods.md 1.2: 47 classes in 5 groups are 10, 10, 9, 9, 9.
    assert even_shares(47, 5).tolist() == [10, 10, 9, 9, 9]


@pytest.mark.parametrize(
    ("fraction", "count", "ceiling", "floor"),
    [(0.07, 100, 7, 7), (0.29, 100, 29, 29), (0.2, 5, 1, 1), (0.2, 6, 2, 1), (0.0, 9, 0, 0)],
)
def test_shares_are_those_of_the_decimal_as_written(fraction: float, count: int, ceiling: int, floor: int) -> None:
    # In binary, 0.07 * 100 is 7.000000000000001 and 0.29 * 100 is 28.999999999999996.
    assert ceil_share(fraction, count) == ceiling
    assert floor_share(fraction, count) == floor
