"""Mean ranks against the printed examples of Demsar, of Garcia and Herrera, and of Skillings and Mack."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import scikit_posthocs
from autorank import autorank
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fl_bench.benchmarks.statistics import ranks
from fl_bench.benchmarks.statistics.multiple import holm


def test_demsar_table_6(demsar: np.ndarray) -> None:
    assert ranks.mean_ranks(demsar) == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    found = ranks.friedman(demsar)
    # The paper does not correct for ties. Its rows have three pairs and one quadruple of equals: sum of t^3 - t is
    # 3 * 6 + 60 = 78, of the 14 (4^3 - 4) = 840 that ties could take.
    printed = found.chi2 * (1 - 78 / 840)
    assert printed == pytest.approx(9.28, abs=5e-3)
    f, degrees, p = ranks.iman_davenport(printed, 4, 14)
    assert (f, degrees) == (pytest.approx(3.69, abs=5e-3), (3, 39))
    assert p < 0.05  # "F(3, 39) at 0.05 is 2.85, so we reject"


def test_demsar_critical_differences() -> None:
    assert ranks.rank_error(4, 14) == pytest.approx(0.488, abs=5e-4)
    assert ranks.critical_difference(4, 14, 0.05) == pytest.approx(1.25, abs=5e-3)
    assert ranks.critical_difference(4, 14, 0.10) == pytest.approx(1.12, abs=5e-3)
    # Bonferroni-Dunn: q_0.05 = 2.394 and q_0.10 = 2.128 for four methods
    assert ranks.control_difference(4, 14, 0.05) == pytest.approx(2.394 * 0.488, abs=1e-3)
    assert ranks.control_difference(4, 14, 0.10) == pytest.approx(1.04, abs=5e-3)


def test_demsar_holm_against_the_control(demsar: np.ndarray) -> None:
    # z and p as printed: C4.5+m+cf 2.416 .016, C4.5+m 2.342 .019, C4.5+cf 0.512 .607
    means = ranks.mean_ranks(demsar)
    gaps = means[0] - means[1:]
    assert gaps / ranks.rank_error(4, 14) == pytest.approx([2.342, 0.512, 2.416], abs=1e-3)
    p = [ranks.control_p(gap, 4, 14) for gap in gaps]
    assert p == pytest.approx([0.019, 0.607, 0.016], abs=2e-3)
    # Holm at 0.05 rejects the first two (.016 < .017, .019 < .025), Bonferroni-Dunn only |R_0 - R_j| > 1.16
    assert (holm(p) <= 0.05).tolist() == [True, False, True]
    assert (gaps > ranks.control_difference(4, 14, 0.05)).tolist() == [False, False, True]


def test_garcia_and_herrera_all_pairs() -> None:
    # JMLR 9, 2008: five classifiers on 30 data sets, mean ranks printed as 2.100, 3.250, 2.200, 4.333 and 3.117.
    means = {"C4.5": 63 / 30, "1-NN": 97.5 / 30, "NaiveBayes": 66 / 30, "Kernel": 130 / 30, "CN2": 93.5 / 30}
    printed = {
        ("C4.5", "Kernel"): (5.471, 4.487e-8),
        ("NaiveBayes", "Kernel"): (5.226, 1.736e-7),
        ("Kernel", "CN2"): (2.98, 0.0029),
        ("C4.5", "1-NN"): (2.817, 0.0048),
        ("1-NN", "Kernel"): (2.654, 0.008),
        ("1-NN", "NaiveBayes"): (2.572, 0.0101),
        ("C4.5", "CN2"): (2.49, 0.0128),
        ("NaiveBayes", "CN2"): (2.245, 0.0247),
        ("1-NN", "CN2"): (0.327, 0.744),
        ("C4.5", "NaiveBayes"): (0.245, 0.8065),
    }
    p = []
    for (one, other), (z, printed_p) in printed.items():
        gap = means[one] - means[other]
        assert abs(gap) / ranks.rank_error(5, 30) == pytest.approx(z, abs=1e-3)
        p.append(ranks.control_p(gap, 5, 30))
        assert p[-1] == pytest.approx(
            printed_p, rel=2e-3 if printed_p < 1e-3 else 0.0, abs=0 if printed_p < 1e-3 else 6e-5
        )
    # adjusted by Holm, as printed
    assert holm(p)[:2] == pytest.approx([4.487e-7, 1.563e-6], rel=2e-3)
    assert holm(p)[2:] == pytest.approx([0.0231, 0.0339, 0.0478, 0.0506, 0.0510, 0.0742, 1, 1], abs=1e-4)


def test_ties_are_corrected_as_scipy_does(demsar: np.ndarray) -> None:
    found = ranks.friedman(demsar)
    expected = stats.friedmanchisquare(*demsar.T)
    assert (found.chi2, found.chi2_p) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue))


def test_nemenyi_is_that_of_scikit_posthocs(demsar: np.ndarray) -> None:
    means = ranks.mean_ranks(demsar)
    expected = scikit_posthocs.posthoc_nemenyi_friedman(demsar).to_numpy()
    found = [[ranks.nemenyi_p(one - other, 4, 14) for other in means] for one in means]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_common_path_is_that_of_autorank(demsar: np.ndarray) -> None:
    theirs = autorank(
        pd.DataFrame(demsar, columns=list("abcd")), alpha=0.05, order="descending", force_mode="nonparametric"
    )
    assert (theirs.omnibus, theirs.posthoc) == ("friedman", "nemenyi")
    assert theirs.pvalue == pytest.approx(ranks.friedman(demsar).chi2_p)
    assert theirs.cd == pytest.approx(ranks.critical_difference(4, 14, 0.05), abs=1e-4)
    assert theirs.rankdf["meanrank"].sort_index().tolist() == pytest.approx(ranks.mean_ranks(demsar).tolist())


def test_complete_agreement_is_an_exact_probability_not_zero() -> None:
    # Three blocks rank three methods alike. Given the first, each of the others does so with probability 1 / 3! = 1/6.
    found = ranks.friedman(np.array([[3.0, 2, 1], [30, 20, 10], [9, 8, 7]]))
    assert math.isinf(found.f)
    assert found.f_p == pytest.approx(1 / 36)
    # with two methods tied in every block there are only 3!/2! = 3 arrangements
    assert ranks.friedman(np.array([[3.0, 2, 2], [3, 1, 1]])).f_p == pytest.approx(1 / 3)


def test_no_difference_at_all() -> None:
    found = ranks.friedman(np.ones((4, 3)))
    assert (found.chi2, found.chi2_p, found.f, found.f_p) == (0.0, 1.0, 0.0, 1.0)


def test_skillings_and_mack_assembly_times() -> None:
    # The example of the paper (Technometrics 23, 1981): four assembly methods, nine assemblers, five gaps;
    # T = 15.493 on 3 degrees of freedom, p = .0014.
    gap = np.nan
    times = np.array(
        [
            [3.2, 4.1, 3.8, 4.2],
            [3.1, 3.9, 3.4, 4.0],
            [4.3, 3.5, 4.6, 4.8],
            [3.5, 3.6, 3.9, 4.0],
            [3.6, 4.2, 3.7, 3.9],
            [4.5, 4.7, 3.7, gap],
            [gap, 4.2, 3.4, gap],
            [4.3, 4.6, 4.4, 4.9],
            [3.5, gap, 3.7, 3.9],
        ]
    )
    statistic, degrees, p = ranks.skillings_mack(times)
    assert (statistic, degrees, p) == (pytest.approx(15.493, abs=5e-4), 3, pytest.approx(0.00144, abs=5e-6))


def test_skillings_mack_without_gaps_is_friedman() -> None:
    scores = np.random.default_rng(0).normal(size=(7, 4))
    assert ranks.skillings_mack(scores)[0] == pytest.approx(ranks.friedman(scores).chi2)


def test_skillings_mack_refuses_methods_that_never_meet() -> None:
    gap = np.nan
    with pytest.raises(ValueError, match="share no block"):
        ranks.skillings_mack(np.array([[1, 2, gap, gap], [gap, gap, 1, 2.0]]))


def test_cliques_are_maximal() -> None:
    # sorted 1.0 1.5 2.4 4.0 with 1.0 between: {1.0, 1.5}, {1.5, 2.4} (0.9 apart); 4.0 stands alone
    assert ranks.cliques([2.4, 1.0, 4.0, 1.5], 1.0) == ((1, 3), (3, 0))
    assert ranks.cliques([1.0, 1.2, 1.4], 1.0) == ((0, 1, 2),)
    assert ranks.cliques([1.0, 3.0], 2.0) == ()  # a difference as large as the critical one is one


@given(st.lists(st.floats(1, 9), min_size=2, max_size=9), st.floats(0.1, 5))
def test_cliques_by_looking_at_every_set(values: list[float], difference: float) -> None:
    order = np.argsort(np.round(values, 9), kind="stable")
    runs = [
        frozenset(order[first : last + 1].tolist())
        for first in range(len(order))
        for last in range(first + 1, len(order))
        if round(values[order[last]], 9) - round(values[order[first]], 9) < difference
    ]
    maximal = {run for run in runs if not any(run < other for other in runs)}
    assert {frozenset(clique) for clique in ranks.cliques(values, difference)} == maximal


def test_the_order_of_two_may_depend_on_a_third() -> None:
    # Twice a > b > c, twice b > c > a:
    scores = np.array([[3.0, 2, 1], [3, 2, 1], [1, 3, 2], [1, 3, 2]])
    # with c: a (1 + 1 + 3 + 3) / 4 = 2, b (2 + 2 + 1 + 1) / 4 = 1.5; without c both 1.5: level, no flip
    assert ranks.order_flips(scores) == []
    # one more block for a: with c a 9/5, b 8/5: b ahead; without c a 7/5, b 8/5: a ahead
    scores = np.vstack([scores, [3.0, 2, 1]])
    assert ranks.order_flips(scores) == [(1, 0, (2,))]


def test_leaving_out_a_data_set_takes_all_its_blocks() -> None:
    scores = np.array([[2.0, 1], [2, 1], [1, 2]])
    found = ranks.leave_one_out(scores, ["x", "x", "y"])
    assert found["x"].tolist() == [2, 1]
    assert found["y"].tolist() == [1, 2]


def test_resampled_ranks_keep_the_blocks_of_a_data_set_together() -> None:
    # Data set x has two blocks that the first wins, y one that it loses: mean ranks can be 1 (x, x), 4/3 or 2 (y, y).
    scores = np.array([[2.0, 1], [2, 1], [1, 2]])
    draws = ranks.bootstrap_ranks(scores, ["x", "x", "y"], 4000, np.random.default_rng(0))
    values, counts = np.unique(np.round(draws[:, 0], 6), return_counts=True)
    assert values.tolist() == pytest.approx([1, 4 / 3, 2], abs=1e-6)
    assert counts / 4000 == pytest.approx([0.25, 0.5, 0.25], abs=0.03)
