"""Two methods on a single data set, paired by seed (benchmarks room).

Says something about that data set only: seeds repeat a measurement, they are no sample of problems.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from scipy import special, stats

from .table import settled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

RESAMPLES = 9_999
"""Of the BCa bootstrap."""

LEAST_SEEDS = 20
"""Of a bootstrap: with fewer its 95 % intervals hold the truth too rarely, with five in 85 % of all cases
(docs/statistics.md)."""


def t_interval(differences: Array, alpha: float) -> tuple[float, float, float] | None:
    """Student's interval of the mean and the two-sided p value; None with one seed, or when all differences are equal.

    Args:
        differences: shape (seeds,), paired by seed.
        alpha: 0.05 for a 95 % interval.
    """
    values = settled(differences)
    count = len(values)
    if count < 2 or np.ptp(values) == 0:
        return None
    error = float(values.std(ddof=1)) / count**0.5
    half = float(special.stdtrit(count - 1, 1 - alpha / 2)) * error
    mean = float(values.mean())
    return mean - half, mean + half, float(2 * special.stdtr(count - 1, -abs(mean) / error))


def bca_interval(
    differences: Array, alpha: float, generator: np.random.Generator, least: int = LEAST_SEEDS
) -> tuple[float, float] | None:
    """SciPy's bias-corrected accelerated bootstrap of the mean; None below twenty seeds, or where it is not defined.

    It is not where all differences are equal, or where every resample lies on one side of the mean.
    """
    values = settled(differences)
    if len(values) < least or np.ptp(values) == 0:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SciPy warns of what the last line checks
        found = stats.bootstrap(
            (values,),
            np.mean,
            confidence_level=1 - alpha,
            n_resamples=RESAMPLES,
            method="BCa",
            vectorized=True,
            rng=generator,
        ).confidence_interval
    low, high = float(found.low), float(found.high)
    return (low, high) if np.isfinite([low, high]).all() else None
