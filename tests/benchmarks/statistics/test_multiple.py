"""Holm's correction by hand and against statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from fl_bench.benchmarks.statistics.multiple import holm


def test_by_hand() -> None:
    # sorted .01 .02 .03 .9: times 4, 3, 2, 1 is .04 .06 .06 .9, and no later one may be smaller
    assert holm([0.9, 0.02, 0.01, 0.03]) == pytest.approx([0.9, 0.06, 0.04, 0.06])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_against_a_second_implementation(p: list[float]) -> None:
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1], rtol=1e-12, atol=1e-300)


def test_no_test_at_all() -> None:
    assert len(holm([])) == 0
