"""The threshold B0 of greedy elimination, set without the true number of groups (cosmos room); no clustering.

Distances or predictions in, a threshold out; `clustering.greedy_eps` makes clusters of it, and their number K emerges.
The COSMOS authors say that K emerges from a distance threshold (their text of 2026) and not how they set it: all rules
are ours. Labels, true groups and test data are unknown to each of them.

The same for all rules: one client is a cluster, and so are clients all of whose distances are equal up to a relative
1e-9, as the only one of two clients is; there is nothing to tell clusters by. Equal clients, at distance 0, share a
cluster. Equal distances fall on the same side of every threshold, and of thresholds that do equally well the largest is
taken, so with the fewest clusters. `benchmarks/studies/clusters` compares the rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from fl_bench.lazy import np, torch

from ..methods.clustering import EQUAL_DISTANCES, square_matrix
from .clustering import greedy_eps
from .distances import pairwise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ..methods.clustering import Labels, Numbers
    from .distances import Distance

Emergence: TypeAlias = Literal["silhouette", "gap", "quantile", "stability"]
"""The rules of `threshold`."""

CANDIDATES = 50
"""Thresholds that `silhouette` and `stability` try at most."""

NO_STRUCTURE = 0.25
"""Mean silhouette up to which `silhouette` makes one cluster: "no substantial structure has been found" (L. Kaufman and
P. J. Rousseeuw, "Finding Groups in Data", 1990, chapter 2)."""

INSIDE_GAP = 0.1
"""Where in the gap `gap` puts the threshold: this part of the way up, clear of the rounding of mean distances."""

QUANTILE = 0.1
"""Share of all pairs of clients that `quantile` makes neighbours."""

BLOCKS = 20
"""Parts that `stability` cuts the public samples into."""

REPEATS = 8
"""Pairs of parts that `stability` compares."""

TIE = 1e-9
"""Scores nearer than this are equal; they are sums in another order."""


def threshold(
    rule: Emergence, predictions: Tensor, distances: Tensor, distance: Distance, stream: np.random.Generator
) -> float:
    """B0 by one of the rules, at a cost that is small beside the distances of a large public pool.

    `gap` and `quantile` take about a millisecond, `silhouette` makes 50 greedy clusterings (10 to 30 ms up to 200
    clients), and `stability` 850 and the distances once more (0.1 to 0.4 s).

    Args:
        rule: `silhouette`, `gap`, `quantile` or `stability`: the functions below.
        predictions: class probabilities, shape (n, samples, classes); `stability` alone reads them.
        distances: what `pairwise` says of them, shape (n, n).
        distance: which distance that is.
        stream: randomness of `stability`.
    Returns:
        The threshold in units of the distance: 0 for one client.
    """
    if rule == "silhouette":
        return by_silhouette(distances)
    if rule == "gap":
        return by_gap(distances)
    if rule == "quantile":
        return by_quantile(distances)
    return by_stability(predictions, distances, distance, stream)


def by_silhouette(distances: Tensor, floor: float = NO_STRUCTURE) -> float:
    """The observed distance at which greedy elimination gives the clusters with the largest mean silhouette.

    The silhouette of client i is (b - a) / max(a, b), with a its mean distance to the others of its cluster and b the
    smallest mean distance to another cluster; 0 for who is alone (P. J. Rousseeuw, "Silhouettes", 1987). At most 50 of
    the distinct distances are tried, evenly spread in rank from the smallest to the largest. At the smallest two
    clients are neighbours, so K is in 2..n-1; one cluster has no silhouette, and K is 1 where the best is no more than
    `floor`.

    Args:
        distances: shape (n, n), symmetric.
        floor: silhouette that is not worth splitting for; -1 splits whenever clients differ.
    """
    matrix = square_matrix(distances)
    if _is_alike(matrix):
        return _largest(matrix)
    tried = _candidates(matrix)
    epsilon, best = _best(tried, [_silhouette(matrix, greedy_eps(distances, epsilon)) for epsilon in tried])
    return epsilon if best > floor else _largest(matrix)


def by_gap(distances: Tensor) -> float:
    """The lower end of the largest gap between two merge heights of average linkage.

    With heights h_1 <= ... <= h_{n-1} the gap is the largest (h_{j+1} - h_j) / h_{n-1}, and the threshold is
    h_j + 0.1 (h_{j+1} - h_j). Average linkage is monotone. Equal heights have no gap. Cutting there leaves n - j
    clusters, so 2..n-1; greedy elimination at the same threshold mostly finds these, and need not.

    Args:
        distances: shape (n, n), symmetric.
    """
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    matrix = square_matrix(distances)
    if _is_alike(matrix):
        return _largest(matrix)
    heights = linkage(squareform(matrix, checks=False), "average")[:, 2]
    gaps = (heights[1:] - heights[:-1]) / heights[-1]
    lower = len(gaps) - 1 - int(np.argmax(gaps[::-1] >= gaps.max() - TIE))
    return float(heights[lower] + INSIDE_GAP * (heights[lower + 1] - heights[lower]))


def by_quantile(distances: Tensor, share: float = QUANTILE) -> float:
    """The distance that a share of all n (n - 1) / 2 pairs does not exceed, at least one pair.

    K equal groups have about a share 1/K of their pairs inside, so the share says how many clusters are expected, and
    more neighbours than that are never joined: the rule to compare the others with.

    Args:
        distances: shape (n, n), symmetric.
        share: in (0, 1].
    """
    matrix = square_matrix(distances)
    if _is_alike(matrix):
        return _largest(matrix)
    pairs = np.sort(_pairs(matrix))
    return float(pairs[max(int(np.ceil(share * len(pairs) - TIE)), 1) - 1])


def by_stability(predictions: Tensor, distances: Tensor, distance: Distance, stream: np.random.Generator) -> float:
    """The observed distance at which clusters agree best between small parts of the public samples.

    The public samples are cut at random into 20 parts (fewer where there are fewer samples). Eight times two parts are
    drawn, and at each of the candidates of `by_silhouette` the clients are clustered by either part alone; the score is
    the mean adjusted Rand index of the two clusterings. Candidates that give one cluster with all samples are left out,
    since it agrees with itself, and none gives n. With one public sample there are no two parts: one cluster.

    The parts' distances together cost what `pairwise` costs once. `ce` contains the entropy of predictions, whose level
    differs from part to part, so thresholds do not carry over well: this rule is meant for the other distances.

    Args:
        predictions: class probabilities, shape (n, samples, classes).
        distances: what `pairwise` says of them, shape (n, n).
        distance: which distance that is.
        stream: draws the parts and the pairs of them.
    """
    matrix = square_matrix(distances)
    samples = predictions.shape[1]
    parts = min(BLOCKS, samples)
    if _is_alike(matrix) or parts < 2:
        return _largest(matrix)
    tried = [epsilon for epsilon in _candidates(matrix) if greedy_eps(distances, epsilon).max() > 0]
    by_part = []
    for rows in torch.from_numpy(stream.permutation(samples)).to(predictions.device).tensor_split(parts):
        unit = (samples / len(rows)) ** 0.5 if distance == "l2_raw" else 1.0  # the others are means over samples
        by_part.append(pairwise(predictions[:, rows], distance) * unit)
    scores = np.zeros(len(tried))
    for _ in range(REPEATS):
        first, second = stream.choice(parts, size=2, replace=False)
        scores += [_agreement(greedy_eps(by_part[first], e), greedy_eps(by_part[second], e)) for e in tried]
    return _best(tried, scores / REPEATS)[0] if tried else _largest(matrix)


def _pairs(matrix: Numbers) -> Numbers:
    """The n (n - 1) / 2 distances."""
    return matrix[np.triu_indices(len(matrix), k=1)]


def _largest(matrix: Numbers) -> float:
    """The threshold that makes one cluster."""
    return float(matrix.max())


def _is_alike(matrix: Numbers) -> bool:
    """Whether there is nothing to tell clusters by."""
    pairs = _pairs(matrix)
    return len(pairs) == 0 or bool(np.ptp(pairs) <= EQUAL_DISTANCES * pairs.max())


def _candidates(matrix: Numbers) -> list[float]:
    """Distinct distances, ascending; `CANDIDATES` of them, evenly spread in rank, where there are more."""
    found = np.unique(_pairs(matrix))
    if len(found) > CANDIDATES:
        found = found[np.linspace(0, len(found) - 1, CANDIDATES).round().astype(int)]
    return [float(epsilon) for epsilon in found]


def _best(tried: Sequence[float], scores: Sequence[float] | Numbers) -> tuple[float, float]:
    """The last of the thresholds with the largest score, and that score."""
    best = float(np.max(scores))
    return tried[int(np.flatnonzero(np.asarray(scores) >= best - TIE)[-1])], best


def _agreement(first: Labels, second: Labels) -> float:
    """Adjusted Rand index of two clusterings (L. Hubert and P. Arabie, 1985); 1 where it is 0 / 0.

    scikit-learn's takes ten times as long, most of it checks, and `stability` asks hundreds of times.
    """
    n = len(first)
    shared = np.zeros((int(first.max()) + 1, int(second.max()) + 1))
    np.add.at(shared, (first, second), 1)
    both, one, other = (float((counts * (counts - 1)).sum()) for counts in (shared, shared.sum(1), shared.sum(0)))
    expected, most = one * other / (n * (n - 1)), (one + other) / 2
    return 1.0 if most == expected else (both - expected) / (most - expected)


def _silhouette(matrix: Numbers, labels: Labels) -> float:
    """Mean silhouette of the clusters; minus infinity for one."""
    n, clusters = len(labels), int(labels.max()) + 1
    if clusters == 1:
        return -np.inf
    member = np.eye(clusters)[labels]
    sizes = member.sum(axis=0)
    sums, own = matrix @ member, sizes[labels]
    inside = sums[np.arange(n), labels] / np.maximum(own - 1, 1)
    means = sums / sizes
    means[np.arange(n), labels] = np.inf
    outside = means.min(axis=1)
    wider = np.maximum(np.maximum(inside, outside), np.finfo(np.float64).tiny)
    return float(np.where(own > 1, (outside - inside) / wider, 0.0).mean())
