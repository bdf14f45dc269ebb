"""How far differences lie from zero, as the signed-rank test sees it (benchmarks room): estimate, interval, margins.

J. Hodges and E. Lehmann, "Estimates of location based on rank tests", 1963. The estimate is the median of all means of
two differences (Walsh averages), a difference with itself among them: the shift that the signed-rank test would move
to zero. So it never points the other way than the test, as a mean can. The interval holds the shifts that the very same
test, with its ties, does not reject:

    { theta : p(d_1 - theta, ..., d_N - theta) > alpha }

p changes only where theta passes a Walsh average, so the ends are Walsh averages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .power import smallest_p
from .signed_rank import signed_rank
from .table import settled

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]


def hodges_lehmann(differences: ArrayLike) -> float:
    """The shift of the signed-rank test: the median of all Walsh averages.

    Args:
        differences: shape (blocks,), points, one per independent block.
    """
    return float(settled(np.median(_walsh(differences))))


def shift_interval(differences: ArrayLike, alpha: float) -> tuple[float, float] | None:
    """The shifts that the exact two-sided test does not reject; None where it can reject none.

    Zero may be an end although the test rejects it: with ties p differs at a Walsh average and beside it.

    Args:
        differences: shape (blocks,), points.
        alpha: 0.05 for a 95 % interval.
    """
    values = settled(differences)
    edges = np.unique(settled(_walsh(values)))
    if smallest_p(len(values)) > alpha:
        return None
    between = (edges[1:] + edges[:-1]) / 2

    def kept(gap: int) -> bool:
        return signed_rank(values - between[gap]).p > alpha

    estimate = hodges_lehmann(values)
    low = _last_kept(kept, int(np.searchsorted(edges, estimate, side="left")), -1)
    high = _last_kept(kept, int(np.searchsorted(edges, estimate, side="right")) - 2, len(between))
    return float(edges[low]), float(edges[high + 1])


def p_equivalent(differences: ArrayLike, margin: float) -> float:
    """Two one-sided tests (D. Schuirmann, 1987) of a shift of at least the margin either way: the larger p of the two.

    Args:
        differences: shape (blocks,), points.
        margin: half width of the region of practical equivalence, points.
    """
    values = np.asarray(differences, dtype=float)
    return max(signed_rank(values + margin).p_greater, signed_rank(values - margin).p_less)


def p_not_worse(differences: ArrayLike, margin: float) -> float:
    """One-sided p of a shift of `-margin` or less: small where the first method is not worse by as much.

    Args:
        differences: first minus second method, shape (blocks,), points.
        margin: points.
    """
    return signed_rank(np.asarray(differences, dtype=float) + margin).p_greater


def _walsh(differences: ArrayLike) -> Array:
    values = settled(differences)
    first, second = np.triu_indices(len(values))
    means: Array = (values[first] + values[second]) / 2
    return means


def _last_kept(kept: Callable[[int], bool], inside: int, outside: int) -> int:
    """The farthest gap that is kept on the way from `inside` (as if kept) to `outside` (as if not); p falls on it."""
    while abs(outside - inside) > 1:
        half = (inside + outside) // 2
        inside, outside = (half, outside) if kept(half) else (inside, half)
    return inside
