"""How much an attack finds out (federation room): the area under its curve with an interval, and errors of shares.

Membership scores are larger where the attacker believes that a sample was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fl_bench.lazy import np

if TYPE_CHECKING:
    from collections.abc import Sequence

NORMAL = 1.959963984540054
"""Two-sided 95 % point of the standard normal distribution."""

FALSE_POSITIVES = 0.01
"""Share of non-members taken for members at which the true-positive rate is told (Carlini et al., 2022)."""


@dataclass(frozen=True)
class Area:
    """Area under the receiver operating characteristic: 0.5 is guessing, 1 tells all members apart."""

    value: float
    variance: float
    """Of the estimate: by DeLong et al. (1988), and never below what it is where there is nothing to be found."""


def area(members: np.ndarray, others: np.ndarray) -> Area:
    """How well a score tells members from others: P(member's > other's) + P(equal) / 2.

    The variance is the larger one of DeLong's estimate and of (m + n + 1) / (12 m n), the exact one of the Mann-Whitney
    statistic where both have one continuous distribution. So the interval is no narrower than under no leak.

    Args:
        members: scores of samples that were trained on, shape (m,), m > 0.
        others: scores of samples that were not, shape (n,), n > 0.
    """
    from scipy.stats import rankdata

    m, n = len(members), len(others)
    joined = rankdata(np.concatenate([members, others]))
    above = (joined[:m] - rankdata(members)) / n  # share of the others below each member, ties by half
    below = 1 - (joined[m:] - rankdata(others)) / m  # share of the members above each of the others
    value = float(above.mean())
    parts = [part.var(ddof=1) / len(part) if len(part) > 1 else 0.0 for part in (above, below)]
    return Area(value, max(float(sum(parts)), (m + n + 1) / (12 * m * n)))


def mean_area(areas: Sequence[Area]) -> tuple[float, float, float]:
    """The mean over clients of their areas, and the ends of its 95 % interval, within [0, 1]."""
    value = float(np.mean([one.value for one in areas]))
    half = NORMAL * float(np.sqrt(sum(one.variance for one in areas))) / len(areas)
    return value, max(value - half, 0.0), min(value + half, 1.0)


def true_positives(members: np.ndarray, others: np.ndarray, rate: float = FALSE_POSITIVES) -> float | None:
    """Share of the members above the score that at most `rate` of the others exceed; None with too few others to tell.

    Args:
        members: scores of samples that were trained on, shape (m,).
        others: scores of samples that were not, shape (n,).
        rate: share of the others that may be taken for members.
    """
    allowed = int(rate * len(others))
    if not allowed or not len(members):
        return None
    threshold = np.sort(others)[-allowed - 1]
    return float((members > threshold).mean())


def distance(shares: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Total variation between rows of class shares, in [0, 1]: half the sum of absolute differences.

    Args:
        shares: shape (clients, classes) or (1, classes); rows sum to 1.
        truth: shape (clients, classes).
    """
    errors: np.ndarray = 0.5 * np.abs(shares - truth).sum(axis=1)
    return errors
