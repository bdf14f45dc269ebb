"""Euclidean distances through inner products, so that nothing has the size points * points * vector.

Those of clients' long vectors are in float64, block by block; those of features have a slope everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_bench.lazy import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

ROUNDING = 1e-12
"""A squared distance below this share of the two squared norms is what rounding leaves of 0, and counts as 0."""

BLOCK_ELEMENTS = 1 << 22
"""Numbers per temporary tensor, so that memory does not grow with clients * clients."""


def gram(points: Tensor) -> Tensor:
    """Inner products of vec(X_i) - m and vec(X_j) - m, m the mean of all points.

    Subtracting m moves no distance, and leaves the products more digits where the points are close together.

    Args:
        points: shape (n, ...).
    Returns:
        Shape (n, n), float64, symmetric.
    """
    products = points.new_zeros((len(points), len(points)), dtype=torch.float64)
    for block in columns(points):
        centred = block - block.mean(dim=0)
        products += centred @ centred.T
    return (products + products.T) / 2


def squared_distances(products: Tensor) -> Tensor:
    """Squared distances from a Gram matrix: g_ii + g_jj - 2 g_ij, 0 where that is `ROUNDING`; shape (n, n)."""
    norms = products.diagonal()[:, None] + products.diagonal()[None, :]
    squared = norms - 2 * products
    return torch.where(squared <= ROUNDING * norms, 0.0, squared)


def columns(points: Tensor) -> Iterator[Tensor]:
    """The points as float64 vectors, shape (n, block), a block of coordinates after the other."""
    vectors = points.flatten(1)
    width = max(1, BLOCK_ELEMENTS // len(points))
    for begin in range(0, vectors.shape[1], width):
        yield vectors[:, begin : begin + width].to(torch.float64)


def between(features: Tensor, prototypes: Tensor) -> Tensor:
    """||z - g_c||_2 of all pairs, by inner products, so that nothing has the size samples * classes * features.

    Rounding may leave a square that is 0 slightly negative, and the root has no slope at 0: squares are at least
    1e-12 here.

    Args:
        features: z, shape (samples, features).
        prototypes: g, shape (classes, features).

    Returns:
        Shape (samples, classes).
    """
    squares = features.square().sum(dim=1, keepdim=True) + prototypes.square().sum(dim=1)
    return (squares - 2 * features @ prototypes.T).clamp_min(1e-12).sqrt()
