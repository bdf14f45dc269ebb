"""Exact whole-number shares (datasets room): how many of M samples each class or client gets; draws nothing."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np


def largest_remainder(total: int, weights: np.ndarray) -> np.ndarray:
    """Share `total` units by weights: round down, then one more for the largest fractional parts (methods.md 6).

    Ties go to the smallest index.

    Args:
        total: units to share, at least 0.
        weights: not negative, any positive sum, shape (parts,).
    Returns:
        Units of each part, int64, shape (parts,); they sum to `total`.
    """
    exact = total * (np.asarray(weights, dtype=np.float64) / np.sum(weights))
    units: np.ndarray = np.floor(exact).astype(np.int64)
    # Products such as 3 * (1/3) may fall a hair off a whole number; compare fractions at a coarser grain.
    fractions = np.round(exact - units, 9)
    order = np.argsort(-fractions, kind="stable")
    units[order[: total - int(units.sum())]] += 1
    return units


def even_shares(total: int, parts: int) -> np.ndarray:
    """Share `total` units into `parts` whole numbers that differ by at most one, the larger ones first."""
    return total // parts + (np.arange(parts) < total % parts).astype(np.int64)


def ceil_share(fraction: float, count: int) -> int:
    """ceil(fraction * count) of the decimal number as written: 0.07 of 100 is 7, not 8."""
    return math.ceil(Fraction(str(fraction)) * count)


def floor_share(fraction: float, count: int) -> int:
    """floor(fraction * count) of the decimal number as written: 0.29 of 100 is 29, not 28."""
    return math.floor(Fraction(str(fraction)) * count)
