"""Clusterings that several methods use: k-means of any vectors, complete linkage of any distances.

Labels are int64 arrays of shape (n,). Ids run from 0 in the order of the smallest client of each cluster, except
after `kmeans` with a start, where cluster k stays cluster k. Wherever two choices are equally good the one with the
smallest client or cluster id is taken. methods.md 2.3 has the definitions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from fl_bench.errors import ConfigError
from fl_bench.lazy import np, torch

from .distances import gram, squared_distances

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from ..federation.rounds import Federation

    Labels: TypeAlias = NDArray[np.int64]
    Numbers: TypeAlias = NDArray[np.float64]

KMEANS_RESTARTS = 10
"""Starts of `kmeans` when it has no centroids to continue from."""

KMEANS_ITERATIONS = 300
"""Where Lloyd's iteration is stopped; it ends by itself long before, this guards against rounding."""

EQUAL_DISTANCES = 1e-9
"""Relative spread of all distances below which `agglomerative` sees no structure and makes one cluster."""


@dataclass(frozen=True)
class KMeansResult:
    """What `kmeans` found."""

    labels: Labels
    """Cluster of each client, shape (n,). Ids without a client are possible: those clusters are empty."""
    centroids: Tensor
    """Mean of each cluster, shape (K, ...); an empty cluster keeps the one it had."""
    inertia: float
    """Sum over clients of the squared Euclidean distance to their centroid, times what the client counts."""


def kmeans(
    points: Tensor,
    clusters: int,
    *,
    weights: Tensor | None = None,
    stream: np.random.Generator | None = None,
    start: Tensor | None = None,
) -> KMeansResult:
    """k-means by Lloyd's iteration, until no client changes its cluster.

    Without a start: the best of ten k-means++ starts (D. Arthur and S. Vassilvitskii, "k-means++: The Advantages
    of Careful Seeding", 2007; the first of the best), ids in the order of the smallest client. With one: from these
    centroids only, and cluster k stays cluster k. A client between two centroids joins the smaller id.

    Every centroid is a weighted mean of clients and start centroids, so after one Gram matrix, on the device and in
    float64, Lloyd works on n + K numbers per centroid however long the vectors are (methods.md 6).

    Args:
        points: a vector, matrix, ... of each client (predictions, updates), shape (n, ...), on any device.
        clusters: K, from 1 to n; with a start any number.
        weights: what each client counts in the means and the inertia, shape (n,), above 0; None: all the same.
        stream: randomness of the ten starts; used without `start` only.
        start: centroids to continue from, shape (K, ...).
    Raises:
        ConfigError: `clusters` is not in 1..n.
        ValueError: neither a stream nor a start was given, or the start has another number of clusters.
    """
    n = len(points)
    counts = np.ones(n) if weights is None else weights.detach().cpu().numpy().astype(np.float64)
    if start is None:
        check_clusters(clusters, n)
        if stream is None:
            raise ValueError("kmeans needs a stream for its starts, or centroids to start from")
        products = gram(points)
        squared = squared_distances(products).cpu().numpy()
        seeds = (np.eye(n)[_plus_plus(squared, counts, clusters, stream)] for _ in range(KMEANS_RESTARTS))
        found = (_lloyd(products.cpu().numpy(), counts, seed) for seed in seeds)
        labels, shares, inertia = min(found, key=lambda result: result[2])
        smallest = [np.flatnonzero(labels == k)[0] if (labels == k).any() else n for k in range(clusters)]
        shares = shares[np.argsort(smallest, kind="stable")]  # empty clusters last
        labels = ordered(labels)
    else:
        if len(start) != clusters:
            raise ValueError(f"kmeans was asked for {clusters} clusters and got {len(start)} centroids to start from")
        points = torch.cat([points, start.to(points)])
        labels, shares, inertia = _lloyd(gram(points).cpu().numpy(), counts, np.eye(n + clusters)[n:])
    centroids = torch.tensordot(torch.as_tensor(shares).to(points), points, dims=1)
    return KMeansResult(labels, centroids, inertia)


def agglomerative(distances: Tensor, clusters: int | None = None) -> Labels:
    """Complete linkage: merge the two clusters whose farthest members are nearest, until `clusters` are left.

    Without `clusters` the number K is the one in 2..n-1 with the largest mean silhouette (P. J. Rousseeuw,
    "Silhouettes", 1987; ties: the smallest K). It is 1 where there is nothing to tell clusters by: all distances are
    equal up to a relative 1e-9, as the only one of two clients is.

    Args:
        distances: shape (n, n), symmetric.
        clusters: from 1 to n, or None.
    Returns:
        Labels of exactly `clusters` clusters, also where several merges have the same level (SciPy's order then).
    Raises:
        ConfigError: `clusters` is not in 1..n.
    """
    from scipy.cluster.hierarchy import cut_tree, linkage
    from scipy.spatial.distance import squareform

    matrix = square_matrix(distances)
    np.fill_diagonal(matrix, 0.0)
    n = len(matrix)
    if clusters is not None:
        check_clusters(clusters, n)
    condensed = squareform(matrix, checks=False)
    if clusters == 1 or n == 1:
        return single(n)
    if clusters is not None:
        return ordered(cut_tree(linkage(condensed, "complete"), n_clusters=clusters)[:, 0])
    if np.ptp(condensed) <= EQUAL_DISTANCES * condensed.max():
        return single(n)

    from sklearn.metrics import silhouette_score

    cuts = cut_tree(linkage(condensed, "complete"), n_clusters=range(2, n))
    scores = [silhouette_score(matrix, cut, metric="precomputed") for cut in cuts.T]
    return ordered(cuts[:, int(np.argmax(scores))])


def single(n: int) -> Labels:
    """All n clients in one cluster."""
    return np.zeros(n, dtype=np.int64)


def ordered(labels: NDArray[np.integer]) -> Labels:
    """The same clusters with ids 0, 1, ... in the order of their smallest client."""
    _, first, dense = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first)).astype(np.int64)[dense]


def identity_order(federation: Federation, ids: Sequence[int]) -> Labels:
    """Positions of clients in the order of their identities, in which draws and ties do not depend on numbers.

    Args:
        federation: the run's.
        ids: some clients, in any order.
    """
    return np.argsort([federation.identities[client] for client in ids])


def square_matrix(distances: Tensor) -> Numbers:
    """The distances as a NumPy matrix of its own; a ValueError where they are none."""
    matrix = distances.detach().cpu().numpy().astype(np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not np.isfinite(matrix).all():
        raise ValueError(f"clusters need a square matrix of finite distances, got shape {matrix.shape}")
    return matrix


def check_clusters(clusters: int, n: int) -> None:
    """Raise a `ConfigError` for a number of clusters that n clients cannot make."""
    if not 1 <= clusters <= n:
        raise ConfigError(f"clustering: clusters must be from 1 to the number of clients, {n}, got {clusters}")


def _plus_plus(squared: Numbers, counts: Numbers, clusters: int, stream: np.random.Generator) -> list[int]:
    """k-means++: each next centre drawn with probability proportional to its part of the inertia so far.

    Where all are at distance 0 of a centre (fewer different points than clusters) the first again: an empty cluster.
    """
    n = len(squared)
    centres = [int(stream.integers(n))]
    while len(centres) < clusters:
        parts = counts * squared[:, centres].min(axis=1)
        if parts.sum() > 0:
            centres.append(int(stream.choice(n, p=parts / parts.sum())))
        else:
            centres.append(centres[0])
    return centres


def _lloyd(products: Numbers, counts: Numbers, shares: Numbers) -> tuple[Labels, Numbers, float]:
    """Lloyd's iteration on inner products alone.

    Args:
        products: Gram matrix of the n clients and, after them, of any further points, shape (p, p).
        counts: what each client counts, shape (n,).
        shares: the centroids as weighted means of the points, shape (K, p), rows that sum to 1.
    Returns:
        Labels of the clients, the shares of the last centroids, and the inertia.
    """
    n = len(counts)
    labels = np.full(n, -1, dtype=np.int64)
    shares = shares.copy()
    for _ in range(KMEANS_ITERATIONS):
        cross = products @ shares.T
        squared = products.diagonal()[:n, None] - 2 * cross[:n] + (shares * cross.T).sum(axis=1)
        nearest = squared.argmin(axis=1)
        if np.array_equal(nearest, labels):
            break
        labels = nearest
        for k in np.unique(labels):
            members = np.flatnonzero(labels == k)
            shares[k] = 0.0
            shares[k, members] = counts[members] / counts[members].sum()
    return labels, shares, float(max((counts * squared.min(axis=1)).sum(), 0.0))
