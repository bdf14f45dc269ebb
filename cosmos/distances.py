"""How far apart the predictions of clients are (cosmos room): prediction matrices in, distances out; no clustering.

Everything is computed in float64 on the device of the predictions. `l2` and `ce` are n x n matrix products over
blocks of the public set, `js` goes pair by pair through such blocks; nothing of size n * n * samples * classes exists.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from fl_bench.errors import Diverged, unknown_name
from fl_bench.lazy import torch

from ..methods.distances import columns, gram, squared_distances

if TYPE_CHECKING:
    from torch import Tensor

Distance: TypeAlias = Literal["l2", "l2_raw", "ce", "js"]
"""The distances of `pairwise`."""

SMALLEST_PROBABILITY = 1e-9
"""Probabilities are raised to this before their logarithm is taken in `ce`."""


def pairwise(predictions: Tensor, distance: Distance) -> Tensor:
    """Distances between the prediction matrices P_i of all pairs of clients.

    With N public samples u:

        l2       |P_i - P_j|_F / sqrt(N), in [0, sqrt 2]
        l2_raw   |P_i - P_j|_F, as in the COSMOS authors' code
        ce       1/2 (H(P_i, P_j) + H(P_j, P_i)), H(A, B) = -1/N sum_uc A_uc log max(B_uc, 1e-9); not a metric
        js       mean over u of the Jensen-Shannon divergence of the two rows, in [0, log 2]

    The authors' code clamps one of the two logarithms of `ce`; here both are, so that it is finite and symmetric.

    Args:
        predictions: class probabilities, shape (n, samples, classes), on any device.
        distance: one of the above.
    Returns:
        Shape (n, n), float64, on the same device: symmetric to the last bit, not negative, with a zero diagonal
        (by definition where the formula, that of `ce`, gives something else). Equal matrices are at 0 but in `ce`.
    Raises:
        ConfigError: no distance has this name.
        Diverged: a prediction is not a finite number.
    """
    if distance not in get_args(Distance):
        raise unknown_name("distance", distance, get_args(Distance))
    finite = torch.isfinite(predictions).flatten(1).all(dim=1)
    if not finite.all():
        raise Diverged(f"the predictions of client row {int(finite.int().argmin())} are not finite: no distance exists")
    samples = predictions.shape[1]
    if distance == "ce":
        found = _cross_entropies(predictions) / samples
    elif distance == "js":
        found = _js_sums(predictions) / samples
    else:
        found = squared_distances(gram(predictions)).sqrt() / (1.0 if distance == "l2_raw" else math.sqrt(samples))
    return found.clamp_min(0.0).fill_diagonal_(0.0)


def _cross_entropies(predictions: Tensor) -> Tensor:
    """Sums over u of the symmetric cross-entropy, shape (n, n)."""
    products = predictions.new_zeros((len(predictions), len(predictions)), dtype=torch.float64)
    for block in columns(predictions):
        products += block @ block.clamp_min(SMALLEST_PROBABILITY).log().T
    return -(products + products.T) / 2


def _js_sums(predictions: Tensor) -> Tensor:
    """Sums over u of the Jensen-Shannon divergence, shape (n, n).

    With f(x) = x log x it is the sum over c of (f(p_c) + f(q_c)) / 2 - f((p_c + q_c) / 2), which is 0 term by term
    where the rows are equal, so that equal clients are at 0 exactly.
    """
    n = len(predictions)
    sums = predictions.new_zeros((n, n), dtype=torch.float64)
    for block in columns(predictions):
        f = torch.xlogy(block, block)
        for i in range(n - 1):
            middle = (block[i] + block[i + 1 :]) / 2
            sums[i, i + 1 :] += ((f[i] + f[i + 1 :]) / 2 - torch.xlogy(middle, middle)).sum(dim=1)
    return sums + sums.T


def to_centroids(predictions: Tensor, centroids: Tensor) -> Tensor:
    """l2 distance of every client to every cluster's mean prediction: ||P_i - M_k||_F / sqrt(N).

    Args:
        predictions: shape (n, samples, classes).
        centroids: shape (K, samples, classes).
    Returns:
        Shape (n, K), float64.
    """
    n = len(predictions)
    products = gram(torch.cat([predictions, centroids.to(predictions)]))
    return squared_distances(products)[:n, n:].sqrt() / math.sqrt(predictions.shape[1])
