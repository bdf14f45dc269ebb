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
