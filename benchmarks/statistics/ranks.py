"""Mean ranks over blocks (benchmarks room): Friedman, Iman-Davenport, Nemenyi, Skillings-Mack, how firm the order is.

J. Demsar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7, 2006. With R_j the mean rank of
method j of k over N blocks (1 is best, ties share the mean of their places):

    Friedman         chi2 = 12 N / (k (k + 1)) [sum_j R_j^2 - k (k + 1)^2 / 4], divided by the correction for ties
    Iman-Davenport   F = (N - 1) chi2 / (N (k - 1) - chi2), on k - 1 and (k - 1)(N - 1) degrees of freedom
    Nemenyi          R_i and R_j differ where |R_i - R_j| >= q_alpha sqrt(k (k + 1) / (6 N)), q: studentized range
    control          z = (R_i - R_j) / sqrt(k (k + 1) / (6 N)), for Bonferroni-Dunn and Holm

SciPy's chi-square is corrected for ties, Demsar's is not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from .table import settled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]


@dataclass(frozen=True)
class Friedman:
    """Friedman's chi-square and the F of Iman and Davenport."""

    chi2: float
    df: int
    chi2_p: float
    f: float
    """Infinite where all blocks agree completely."""
    f_df: tuple[int, int]
    f_p: float
    """Where F is infinite: the exact probability of complete agreement."""


def block_ranks(scores: ArrayLike) -> Array:
    """Rank of every method within its block, 1 is best, ties share.

    Args:
        scores: shape (..., blocks, methods), higher is better; NaN where a method has none, which then has no rank.
    """
    ranks: Array = stats.rankdata(-settled(scores), axis=-1, nan_policy="omit")
    return ranks


def mean_ranks(scores: ArrayLike) -> Array:
    """Mean rank of every method over complete blocks, shape (methods,)."""
    means: Array = block_ranks(scores).mean(axis=0)
    return means


def rank_error(methods: int, blocks: int) -> float:
    """Standard error of the difference of two mean ranks under the null: sqrt(k (k + 1) / (6 N))."""
    return math.sqrt(methods * (methods + 1) / (6 * blocks))


def friedman(scores: Array) -> Friedman:
    """Test whether methods differ, over complete blocks; corrected for ties.

    Args:
        scores: shape (blocks, methods), at least 2 blocks and 3 methods.
    """
    blocks, methods = scores.shape
    ranks = block_ranks(scores)
    if (ranks == ranks[0, 0]).all():  # no block tells any two methods apart, and SciPy would divide by zero
        return Friedman(0.0, methods - 1, 1.0, 0.0, (methods - 1, (methods - 1) * (blocks - 1)), 1.0)
    chi2, chi2_p = (float(value) for value in stats.friedmanchisquare(*ranks.T))
    f, f_df, f_p = iman_davenport(chi2, methods, blocks)
    if math.isinf(f):
        f_p = 1 / _arrangements(ranks[0]) ** (blocks - 1)
    return Friedman(chi2, methods - 1, chi2_p, f, f_df, f_p)


def iman_davenport(chi2: float, methods: int, blocks: int) -> tuple[float, tuple[int, int], float]:
    """F, its degrees of freedom and p value, from Friedman's chi-square; infinite and 0 where all blocks agree."""
    degrees = (methods - 1, (methods - 1) * (blocks - 1))
    room = blocks * (methods - 1) - chi2
    if room <= 1e-9 * chi2:
        return math.inf, degrees, 0.0
    f = (blocks - 1) * chi2 / room
    return f, degrees, float(stats.f.sf(f, *degrees))


def critical_difference(methods: int, blocks: int, alpha: float) -> float:
    """Nemenyi's critical difference of mean ranks, for all pairs."""
    q = float(stats.studentized_range.ppf(1 - alpha, methods, np.inf)) / math.sqrt(2)
    return q * rank_error(methods, blocks)


def control_difference(methods: int, blocks: int, alpha: float) -> float:
    """The critical difference of Bonferroni-Dunn, for all methods against one."""
    return float(stats.norm.isf(alpha / (2 * (methods - 1)))) * rank_error(methods, blocks)


def nemenyi_p(difference: float, methods: int, blocks: int) -> float:
    """Nemenyi's adjusted p value of a difference of mean ranks."""
    z = abs(difference) / rank_error(methods, blocks)
    return float(stats.studentized_range.sf(z * math.sqrt(2), methods, np.inf))


def control_p(difference: float, methods: int, blocks: int) -> float:
    """Two-sided p value of a difference of mean ranks, before any correction."""
    return float(2 * stats.norm.sf(abs(difference) / rank_error(methods, blocks)))


def cliques(ranks: ArrayLike, difference: float) -> tuple[tuple[int, ...], ...]:
    """Maximal sets of two or more methods whose mean ranks lie within less than `difference`, best first."""
    values = settled(ranks)
    order = np.argsort(values, kind="stable")
    found: list[tuple[int, ...]] = []
    reach = 0
    for first in range(len(order)):
        last = max(
            place for place in range(first, len(order)) if values[order[place]] - values[order[first]] < difference
        )
        if last > first and last >= reach:
            found.append(tuple(int(place) for place in order[first : last + 1]))
            reach = last + 1
    return tuple(found)


def skillings_mack(scores: Array) -> tuple[float, int, float]:
    """Friedman's test for blocks that lack methods (J. H. Skillings and G. A. Mack, Technometrics 23, 1981).

    In a block with k_i >= 2 methods, A_j adds sqrt(12 / (k_i + 1)) (r_ij - (k_i + 1) / 2) for each method there; the
    covariance of A is minus the number of blocks that two methods share. Complete blocks without ties give Friedman's.

    Args:
        scores: shape (blocks, methods), NaN where a block lacks a method.
    Returns:
        The statistic, its degrees of freedom and p from chi-square.
    Raises:
        ValueError: the blocks fall into groups of methods that never meet.
    """
    present = np.isfinite(scores)
    present &= present.sum(axis=1, keepdims=True) >= 2
    counts = present.sum(axis=1, keepdims=True)
    ranks = block_ranks(np.where(present, scores, np.nan))
    centred = np.where(present, np.sqrt(12 / (counts + 1)) * (ranks - (counts + 1) / 2), 0.0)
    sums = centred.sum(axis=0)
    shared = present.T.astype(float) @ present.astype(float)
    covariance = -shared
    np.fill_diagonal(covariance, shared.sum(axis=1) - np.diag(shared))
    degrees = scores.shape[1] - 1
    if np.linalg.matrix_rank(covariance) < degrees:
        raise ValueError("some methods share no block, directly or through others")
    statistic = float(sums @ np.linalg.pinv(covariance, hermitian=True) @ sums)
    return statistic, degrees, float(stats.chi2.sf(statistic, degrees))


def order_flips(scores: Array) -> list[tuple[int, int, tuple[int, ...]]]:
    """Pairs whose order by mean rank turns around when a third method is left out.

    A difference of mean ranks depends on who else takes part (A. Benavoli et al., JMLR 17, 2016); such pairs are not to
    be ordered by it.

    Returns:
        (better, worse, methods without any one of which `worse` comes out ahead), sorted.
    """
    methods = scores.shape[1]
    full = settled(mean_ranks(scores))
    without: dict[tuple[int, int], list[int]] = {}
    for third in range(methods):
        rest = [method for method in range(methods) if method != third]
        ranks = np.full(methods, np.nan)
        ranks[rest] = settled(mean_ranks(scores[:, rest]))
        turned = (full[:, None] < full[None, :]) & (ranks[:, None] > ranks[None, :])
        for better, worse in np.argwhere(turned):
            without.setdefault((int(better), int(worse)), []).append(third)
    return [(better, worse, tuple(thirds)) for (better, worse), thirds in sorted(without.items())]


def leave_one_out(scores: Array, groups: Sequence[str]) -> dict[str, Array]:
    """Mean ranks without the blocks of one group (data set), by group.

    Args:
        scores: shape (blocks, methods), complete.
        groups: the group of each block.
    """
    kinds = np.array(groups)
    return {group: mean_ranks(scores[kinds != group]) for group in dict.fromkeys(groups) if (kinds != group).any()}


def bootstrap_ranks(scores: Array, groups: Sequence[str], draws: int, generator: np.random.Generator) -> Array:
    """Mean ranks of resampled data sets: all blocks of a group (data set) come or stay away together.

    Returns:
        Shape (draws, methods).
    """
    ranks = block_ranks(scores)
    kinds = list(dict.fromkeys(groups))
    belongs = np.array([[group == kind for group in groups] for kind in kinds], dtype=float)
    counts = generator.multinomial(len(kinds), np.full(len(kinds), 1 / len(kinds)), size=draws)
    result: Array = counts @ (belongs @ ranks) / (counts @ belongs.sum(axis=1))[:, None]
    return result


def _arrangements(ranks: Array) -> float:
    """In how many ways the ranks of a block could be dealt to the methods."""
    sizes = np.unique(ranks, return_counts=True)[1]
    return math.factorial(len(ranks)) / math.prod(math.factorial(int(size)) for size in sizes)
