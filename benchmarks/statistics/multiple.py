"""Correction for many tests (benchmarks room).

SciPy corrects for the false discovery rate only; Holm bounds the chance of any false claim. It takes a few lines, which
weigh less than another dependency; the tests compare them with a second implementation.

Several claims may be made of one method, of which the truth leaves few to be false: one that equals the control cannot
also be a ROPE away from it. Then Holm's procedure goes through all claims and counts methods in place of claims
(J. P. Shaffer, "Modified sequentially rejective multiple test procedures", 1986), see `holm_of_methods`.
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


def holm_of_methods(p: ArrayLike, alpha: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Holm's adjustment where each test asks several things, and the truth makes one claim at most false.

    From the smallest p on, each is held against alpha / k, with k the number of methods of which a claim is not shown
    yet: no more claims can still be false. The chance that any claim of the family is false is at most alpha, if for
    each method and each level a the chance of any false claim at p <= a is at most a. With one claim each it is Holm.

    Args:
        p: shape (methods, claims); NaN where a claim is not asked for.
        alpha: the level of the family.
    Returns:
        Adjusted p values, 1 where there is none; and the level at which each p was looked at, for all that are not
        shown the one at which the procedure stopped, NaN where there is none. Both have the shape of `p`.
    """
    values = np.asarray(p, dtype=float)
    adjusted, levels = np.ones(values.shape), np.full(values.shape, np.nan)
    asked = np.isfinite(values)
    left = asked.sum(axis=1)
    smallest, stopped = 0.0, float("nan")
    for place in np.argsort(np.where(asked, values, np.inf), axis=None, kind="stable")[: asked.sum()]:
        at = np.unravel_index(place, values.shape)
        methods = int((left > 0).sum())
        smallest = max(smallest, float(values[at]) * methods)
        adjusted[at] = min(1.0, smallest)
        if smallest > alpha and np.isnan(stopped):
            stopped = alpha / methods
        levels[at] = alpha / methods if np.isnan(stopped) else stopped
        left[at[0]] -= 1
    return adjusted, levels
