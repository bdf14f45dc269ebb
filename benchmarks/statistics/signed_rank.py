"""The exact signed-rank test, two-sided and one-sided, with Pratt's zeros and mid-ranks (benchmarks room).

F. Wilcoxon, "Individual comparisons by ranking methods", 1945; J. W. Pratt, "Remarks on zeros and ties in the Wilcoxon
signed rank procedures", 1959. The differences d_1..d_N are ranked by |d|, zeros among them, ties share the mean of
their places; zeros then leave. Under the null every remaining difference is as likely positive as negative, so

    P(W+ = w) = #{signs with W+ = w} / 2^n        n: differences that are not zero

is known for any ranks: adding one difference at a time gives the whole distribution. Textbook tables and SciPy's exact
mode assume ranks 1..n, which ties and zeros break; the normal approximation is wrong at the sizes that we have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata

from .table import settled

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@dataclass(frozen=True)
class SignedRank:
    """Sums of ranks and p values."""

    w_plus: float
    w_minus: float
    zeros: int
    p: float
    """Two-sided."""
    p_greater: float
    """One-sided, P(W+ at least as large): small where differences lie above zero."""
    p_less: float
    """One-sided, P(W- at least as large): small where they lie below."""

    @property
    def rank_biserial(self) -> float:
        """(w_plus - w_minus) / (w_plus + w_minus); 0 without any difference."""
        total = self.w_plus + self.w_minus
        return (self.w_plus - self.w_minus) / total if total else 0.0


def signed_rank(differences: ArrayLike) -> SignedRank:
    """Test whether differences are symmetric around zero.

    Args:
        differences: shape (blocks,), one per independent block; at least one, without NaN.
    """
    values = settled(differences)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"differences must be a row of finite numbers, got shape {values.shape}")
    ranks = rankdata(np.abs(values))
    w_plus, w_minus = float(ranks[values > 0].sum()), float(ranks[values < 0].sum())
    doubled = np.rint(2 * ranks[values != 0]).astype(int)  # mid-ranks are halves, so these are whole
    chances = chances_of_sums(doubled)
    greater, less = (min(1.0, float(chances[round(2 * sum_of_ranks) :].sum())) for sum_of_ranks in (w_plus, w_minus))
    return SignedRank(
        w_plus=w_plus,
        w_minus=w_minus,
        zeros=int((values == 0).sum()),
        p=min(1.0, 2 * min(greater, less)),
        p_greater=greater,
        p_less=less,
    )


def chances_of_sums(steps: np.ndarray) -> np.ndarray:
    """P(sum of the steps that are taken = s) for s = 0, 1, ..., each with probability 1/2.

    Args:
        steps: whole numbers, shape (steps,).
    """
    chances = np.ones(1)
    for step in steps:
        longer = np.zeros(len(chances) + step)
        longer[: len(chances)] += chances / 2
        longer[step:] += chances / 2
        chances = longer
    return chances
