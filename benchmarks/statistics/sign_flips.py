"""All methods against one at once, by turning the signs of whole blocks (benchmarks room).

d_ij is the difference of the control and method j in block i. Where no method is better, a block is as likely to come
with all its signs turned (s_i = -1), and that keeps how the methods hang together. The largest

    t_j(s) = mean_i(s_i d_ij) / sqrt(var_i(s_i d_ij) / N)

over the methods has a known distribution over the 2^(N-1) ways to turn signs. It bounds the chance of any false claim
in a family of whatever size, stepwise (P. Westfall and S. Young, 1993; J. Romano and M. Wolf, JASA 100, 2005): of the
methods that are left, the farthest is compared with the largest of them. Unlike Holm over signed ranks, the least p is
2^(1-N) however many methods there are.

It assumes differences that are symmetric around zero, and the mean feels it where they are not, more than ranks do: no
interval is made of it, and no verdict rests on it (docs/statistics.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .table import settled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

EXACT_BLOCKS = 15
"""Up to so many blocks all ways to turn signs are enumerated: 2^14 of them."""

DRAWN = 20_000
"""Ways that are drawn with more blocks, the one that was observed among them."""

ALIKE = 1e-9
"""Statistics that agree to this share are equal: order of summation is no evidence."""


def sign_flips(blocks: int, generator: np.random.Generator) -> Array:
    """Ways to turn the signs of blocks, shape (ways, blocks): 1 and -1; the first turns none.

    With all of them turned t keeps its size, so the first block need not be turned where all ways are enumerated.
    """
    if blocks > EXACT_BLOCKS:
        drawn: Array = np.where(generator.integers(2, size=(DRAWN, blocks)), -1.0, 1.0)
        drawn[0] = 1.0
        return drawn
    codes = np.arange(2 ** (blocks - 1))[:, None]
    flips: Array = np.where((codes << 1 >> np.arange(blocks)) & 1, -1.0, 1.0)
    return flips


def max_t(differences: Array, flips: Array) -> Array:
    """Adjusted two-sided p values of all methods against one.

    Args:
        differences: shape (blocks, methods), points; NaN where a block lacks the method.
        flips: from `sign_flips`.
    Returns:
        Shape (methods,); a method differs where its own is at most alpha.
    """
    sizes = _sizes(differences, flips)
    order = np.argsort(-sizes[0], kind="stable")
    left = np.maximum.accumulate(sizes[:, order[::-1]], axis=1)[
        :, ::-1
    ]  # the largest of each method and those after it
    shares = (left >= left[0] * (1 - ALIKE)).mean(axis=0)
    adjusted = np.empty(len(order))
    adjusted[order] = np.maximum.accumulate(shares)
    return adjusted


def _sizes(differences: Array, flips: Array) -> Array:
    """|t| of every method under every flip, shape (ways, methods); infinite where all differences agree."""
    there = np.isfinite(differences)
    values = np.where(there, settled(differences), 0.0)
    counts = there.sum(axis=0)
    squares = counts * (values**2).sum(axis=0)
    shares = (flips @ values) ** 2 / np.where(
        squares > 0, squares, 1.0
    )  # of the largest that the sum could be, squared
    rest = 1 - shares
    varied = rest > ALIKE
    sizes: Array = np.where(varied, np.sqrt((counts - 1) * shares / np.where(varied, rest, 1.0)), np.inf)
    return sizes
