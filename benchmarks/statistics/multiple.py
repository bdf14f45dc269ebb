"""Correction for many tests (benchmarks room).

SciPy corrects for the false discovery rate only; Holm bounds the chance of any false claim. It takes a few lines, which
weigh less than another dependency; the tests compare them with a second implementation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Holm's step-down adjustment (S. Holm, 1979): p_(i) -> max over j <= i of (m - j + 1) p_(j), at most 1.

    Args:
        p: the p values of one family, shape (tests,).
    Returns:
        Adjusted p values in the same order; a test is significant where its own is at most alpha.
    """
    values = np.asarray(p, dtype=float)
    order = np.argsort(values, kind="stable")
    steps = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return adjusted


def holm_levels(p: ArrayLike, alpha: float) -> NDArray[np.float64]:
    """The level at which Holm's procedure looks at each test: it is rejected where its own p is at most that.

    alpha / (m - i) for the test that is rejected after i others; for all that are not rejected, the level at which the
    procedure stopped.

    Args:
        p: the p values of one family, shape (tests,).
        alpha: the level of the family.
    """
    values = np.asarray(p, dtype=float)
    order = np.argsort(values, kind="stable")
    steps = alpha / np.arange(len(values), 0, -1)
    rejected = int(np.logical_and.accumulate(values[order] <= steps).sum())
    levels = np.empty_like(values)
    levels[order] = steps[np.minimum(np.arange(len(values)), rejected)] if len(values) else steps
    return levels
