"""The exact signed-rank test against the paper, against enumeration of all signs, and against SciPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fl_bench.benchmarks.statistics.signed_rank import signed_rank


def test_demsar_table_2(demsar: np.ndarray) -> None:
    # The paper splits the ranks of the two zeros (1.5 each) between both sums and reports R+ = 93, R- = 12. Pratt's
    # way leaves them out of both: 93 - 1.5 and 12 - 1.5.
    found = signed_rank(demsar[:, 1] - demsar[:, 0])
    assert (found.w_plus, found.w_minus, found.zeros) == (91.5, 10.5, 2)
    assert found.p < 0.05  # the paper: "the null-hypothesis is rejected" at 0.05
    assert found.rank_biserial == (91.5 - 10.5) / 102


def enumerated(differences: list[float]) -> float:
    """The two-sided p value by trying all signs of the differences that are not zero."""
    ranks = stats.rankdata(np.abs(differences))
    signed = np.sign(differences) * ranks
    moving = ranks[np.array(differences) != 0]
    observed = abs(signed.sum())
    sums = [abs(np.dot(signs, moving)) for signs in itertools.product((-1, 1), repeat=len(moving))]
    return float(np.mean([total >= observed for total in sums]))


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_all_signs_tried_give_the_same_p(differences: list[int]) -> None:
    # small whole numbers: zeros and ties of both signs are the rule
    assert signed_rank(differences).p == pytest.approx(enumerated(differences), abs=1e-12)


def test_without_ties_and_zeros_it_is_scipys_exact_test() -> None:
    for blocks in (3, 6, 10, 25, 50):
        differences = np.random.default_rng(blocks).normal(0.3, 1, blocks)
        assert signed_rank(differences).p == pytest.approx(
            stats.wilcoxon(differences, method="exact").pvalue, rel=1e-10
        )


def test_hundreds_of_blocks() -> None:
    # With 300 blocks the normal approximation is good to a few per cent.
    differences = np.random.default_rng(1).normal(0.12, 1, 300)
    exact = signed_rank(differences).p
    assert exact == pytest.approx(stats.wilcoxon(differences, method="approx").pvalue, rel=0.05)


def test_no_difference_at_all() -> None:
    found = signed_rank([0.0, 0.0, 0.0])
    assert (found.p, found.zeros, found.rank_biserial) == (1.0, 3, 0.0)


@pytest.mark.parametrize("blocks", [1, 2, 5, 6, 12])
def test_all_blocks_one_way_is_the_least_p(blocks: int) -> None:
    assert signed_rank(np.arange(1, blocks + 1)).p == 2.0 ** (1 - blocks)


def test_noise_of_floating_point_breaks_no_tie() -> None:
    # 0.3 - 0.2 and 0.1 differ in the seventeenth decimal; as unequal they would get ranks 1 and 2 instead of 1.5.
    found = signed_rank([0.3 - 0.2, -0.1, 0.5])
    assert (found.w_plus, found.w_minus) == (4.5, 1.5)


def test_gaps_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        signed_rank([1.0, np.nan])


@given(st.lists(st.tuples(st.integers(-3, 3), st.sampled_from("abc")), min_size=1, max_size=9))
def test_all_signs_of_clusters_tried_give_the_same_p(parts: list[tuple[int, str]]) -> None:
    differences, clusters = np.array([part[0] for part in parts], dtype=float), [part[1] for part in parts]
    names = sorted(set(clusters))
    signed = stats.rankdata(np.abs(differences)) * np.sign(differences)
    found = []
    for signs in itertools.product((-1, 1), repeat=len(names)):
        sign = dict(zip(names, signs, strict=True))
        found.append(sum(sign[name] * value for name, value in zip(clusters, signed, strict=True)))
    expected = np.mean(np.abs(found) >= abs(signed.sum()) - 1e-9)
    assert signed_rank(differences, clusters).p == pytest.approx(expected)


def test_clusters_of_one_are_no_clusters() -> None:
    differences = [1.0, -2.0, 3.0, 0.0, 5.0, 5.0]
    assert signed_rank(differences, list("fedcba")) == signed_rank(differences)
