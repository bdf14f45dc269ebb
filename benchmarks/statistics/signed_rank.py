"""The exact signed-rank test, two-sided and one-sided, with Pratt's zeros and mid-ranks (benchmarks room).

F. Wilcoxon, "Individual comparisons by ranking methods", 1945; J. W. Pratt, "Remarks on zeros and ties in the Wilcoxon
signed rank procedures", 1959. The differences d_1..d_N are ranked by |d|, zeros among them, ties share the mean of
their places; zeros then leave. Under the null every remaining difference is as likely positive as negative, so

    P(W+ = w) = #{signs with W+ = w} / 2^n        n: differences that are not zero

is known for any ranks: adding one difference at a time gives the whole distribution. Textbook tables and SciPy's exact
mode assume ranks 1..n, which ties and zeros break; the normal approximation is wrong at the sizes that we have.

Differences that are not independent, such as those of data sets of one family, form clusters, and under the null all
signs of a cluster turn together (B. Rosner, R. J. Glynn and M.-L. T. Lee, Biometrics 62, 2006): with R_c the sum of the
signed ranks of cluster c, W+ - W- = sum_c R_c, and each R_c is as likely as -R_c. Clusters of one give the test above.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata

from .table import settled

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def signed_rank(differences: ArrayLike, clusters: Sequence[str] = ()) -> SignedRank:
    """Test whether differences are symmetric around zero.

    Args:
        differences: shape (blocks,), without NaN; at least one. Independent of each other, or else:
        clusters: the cluster of each difference; none where each is its own.
    """
    values = settled(differences)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"differences must be a row of finite numbers, got shape {values.shape}")
    ranks = rankdata(np.abs(values))
    w_plus, w_minus = float(ranks[values > 0].sum()), float(ranks[values < 0].sum())
    signed = np.rint(2 * ranks * np.sign(values)).astype(int)  # mid-ranks are halves, so these are whole
    _, place = np.unique(clusters or np.arange(len(values)), return_inverse=True)
    sums = np.zeros(place.max() + 1, dtype=int)
    np.add.at(sums, place, signed)
    chances = chances_of_sums(np.abs(sums[sums != 0]))
    above, below = int(sums[sums > 0].sum()), int(-sums[sums < 0].sum())
    greater, less = (min(1.0, float(chances[found:].sum())) for found in (above, below))
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
