"""Holm's correction by hand and against statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from fl_bench.benchmarks.statistics.multiple import holm, holm_of_methods


def test_by_hand() -> None:
    # sorted .01 .02 .03 .9: times 4, 3, 2, 1 is .04 .06 .06 .9, and no later one may be smaller
    assert holm([0.9, 0.02, 0.01, 0.03]) == pytest.approx([0.9, 0.06, 0.04, 0.06])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_against_a_second_implementation(p: list[float]) -> None:
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1], rtol=1e-12, atol=1e-300)


def test_no_test_at_all() -> None:
    assert len(holm([])) == 0


def test_claims_on_one_method_share_its_place() -> None:
    # From the smallest on: .01 with three methods open, .02 with three (the first has another claim), .025 still with
    # three; then the first is done, .04 has two; .5 is times 2 and 1 at most; .9 is the last one's other claim.
    p = [[0.01, 0.025], [0.04, 0.9], [0.02, 0.5]]
    adjusted, levels = holm_of_methods(p, 0.07)
    assert adjusted == pytest.approx(np.array([[0.03, 0.075], [0.08, 1.0], [0.06, 1.0]]))
    assert levels == pytest.approx(np.full((3, 2), 0.07 / 3))
    adjusted, levels = holm_of_methods(p, 0.08)
    assert levels == pytest.approx(np.array([[0.08 / 3, 0.08 / 3], [0.04, 0.04], [0.08 / 3, 0.04]]))
    assert (np.array(p) <= levels).tolist() == (adjusted <= 0.08).tolist()


def test_one_method_has_the_whole_level_for_each_claim() -> None:
    assert holm_of_methods([[0.03, 0.2]], 0.05)[0].tolist() == [[0.03, 0.2]]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.01, 0.4))
def test_with_one_claim_each_it_is_holm(p: list[float], alpha: float) -> None:
    unasked = np.full(len(p), np.nan)
    adjusted, levels = holm_of_methods(np.stack([p, unasked], axis=1), alpha)
    np.testing.assert_allclose(adjusted[:, 0], holm(p), rtol=1e-12, atol=1e-300)
    assert adjusted[:, 1].tolist() == [1.0] * len(p)
    assert ((levels[:, 0] >= alpha / len(p) - 1e-12) & (levels[:, 0] <= alpha + 1e-12)).all()


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=8))
def test_it_lies_between_bonferroni_over_methods_and_over_one(p: list[tuple[float, float]]) -> None:
    adjusted, _ = holm_of_methods(p, 0.05)
    assert (adjusted >= np.array(p) - 1e-12).all()
    assert (adjusted <= np.minimum(1, len(p) * np.array(p)) + 1e-12).all()


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=8), st.floats(0.01, 0.4))
def test_a_claim_is_shown_where_it_reaches_its_own_level(p: list[tuple[float, float]], alpha: float) -> None:
    adjusted, levels = holm_of_methods(p, alpha)
    assume(not np.isclose(adjusted, alpha).any())
    assert ((np.array(p) <= levels) == (adjusted <= alpha)).all()
