"""How alike clients' updates are: cosines of stacked vectors, for methods that group clients by their weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_bench.lazy import F

if TYPE_CHECKING:
    from torch import Tensor


def cosines(vectors: Tensor) -> Tensor:
    """cos(v_i, v_j) of all pairs.

    Args:
        vectors: shape (n, numbers).

    Returns:
        Shape (n, n), in [-1, 1]; 0 between a zero vector and any other, as no direction is like none.
    """
    directions = F.normalize(vectors, dim=1)
    return (directions @ directions.T).clamp(-1, 1)
