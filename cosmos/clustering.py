"""Which clients share a server model (cosmos room): distances or predictions in, one cluster id per client out.

Labels are int64 arrays of shape (n,). Ids run from 0 in the order of the smallest client of each cluster, except
where clusters have an identity that lasts, in `match_clusters`. Wherever two choices are equally good the one with the
smallest client or cluster id is taken. methods.md 2.3 has the definitions; k-means and complete linkage, which other
methods use too, are in methods/clustering.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from fl_bench.errors import ConfigError, unknown_name
from fl_bench.lazy import np

from ..methods.clustering import check_clusters, ordered, single, square_matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from ..methods.clustering import Labels, Numbers

FarthestRule: TypeAlias = Literal["max_min", "max_sum"]
"""How `farthest` picks its next centre."""


def greedy_eps(distances: Tensor, epsilon: float) -> Labels:
    """Greedy elimination with a threshold: the client with most neighbours takes them and leaves, and so on.

    A neighbour is at distance <= epsilon, the centre is the smallest id among those with most neighbours left, so
    members are within epsilon of their centre and within 2 epsilon of each other.

    Args:
        distances: shape (n, n), symmetric.
        epsilon: threshold, in units of the distance.
    Returns:
        Labels; n singletons when no two clients are within epsilon.
    Raises:
        ConfigError: `epsilon` is negative or not a number.
    """
    if not epsilon >= 0:
        raise ConfigError(f"cosmos clustering: epsilon must be at least 0, got {epsilon}")
    near = square_matrix(distances) <= epsilon
    np.fill_diagonal(near, True)
    return ordered(_eliminate(near.astype(np.float32), most=len(near)).labels)


def greedy_k(distances: Tensor, clusters: int) -> tuple[Labels, float]:
    """Greedy elimination at the smallest threshold that leaves at most `clusters` clusters.

    The result of `greedy_eps` changes at observed distances only, so the candidates are 0 and the distinct distances,
    upwards. The number of clusters is not monotone in the threshold, so the search does not bisect. What it skips are
    candidates where no pair that became neighbours since the last failure can have changed it (`_first_change`).

    Args:
        distances: shape (n, n), symmetric.
        clusters: at least 1; more than n gives what n gives.
    Returns:
        Labels, and the threshold, one of the distances or 0. Fewer clusters than asked for are possible.
    Raises:
        ConfigError: `clusters` is below 1.
    """
    if clusters < 1:
        raise ConfigError(f"cosmos clustering: clusters must be at least 1, got {clusters}")
    matrix = square_matrix(distances)
    n = len(matrix)
    first, second = np.triu_indices(n, k=1)
    by_distance = np.argsort(matrix[first, second], kind="stable")
    first, second = first[by_distance], second[by_distance]
    thresholds, ends = _distinct(matrix[first, second])
    pairs = list(zip(first.tolist(), second.tolist(), strict=True))
    near = np.eye(n, dtype=np.float32)
    position, done = 0, 0
    while True:  # ends: at the largest distance there is one cluster
        new = slice(done, done := int(ends[position]))
        near[first[new], second[new]] = 1.0
        near[second[new], first[new]] = 1.0
        found = _eliminate(near, most=clusters)
        if found.complete:
            return ordered(found.labels), float(thresholds[position])
        position = int(np.searchsorted(ends, _first_change(found, pairs, done), side="right"))


def greedy_step(distances: Tensor, clusters: int, step: float) -> tuple[Labels, float]:
    """Greedy elimination at the first of the thresholds step, 2 step, 3 step, ... that leaves at most `clusters`.

    The search of the COSMOS authors' code (step 0.1 on `l2_raw` distances), which may skip the smallest threshold
    and even the target number; `greedy_k` is exact.

    Args:
        distances: as in `greedy_eps`.
        clusters: target number of clusters, at least 1.
        step: grid of thresholds, above 0.
    Returns:
        The clusters, as from `greedy_eps`, and the threshold.
    """
    multiple = 1
    while True:  # ends: at the largest distance there is one cluster
        labels = greedy_eps(distances, multiple * step)
        if labels.max() < clusters:
            return labels, multiple * step
        multiple += 1


def farthest(distances: Tensor, clusters: int, rule: FarthestRule = "max_min") -> Labels:
    """Centres far from each other, every other client with its nearest centre.

    The first two centres are the most distant pair (ties: the smallest first, then the smallest second id). The next
    is the client with the largest minimum distance to the centres (`max_min`, T. F. Gonzalez, "Clustering to minimize
    the maximum intercluster distance", 1985) or the largest sum of distances (`max_sum`, the COSMOS authors' code).

    Args:
        distances: shape (n, n), symmetric.
        clusters: number of centres, from 1 to n; with 1 everybody shares a cluster.
        rule: one of the above.
    Returns:
        Labels of exactly `clusters` clusters; a centre without followers is a cluster of its own.
    Raises:
        ConfigError: `clusters` is not in 1..n, or no rule has this name.
    """
    matrix = square_matrix(distances)
    n = len(matrix)
    check_clusters(clusters, n)
    if rule not in get_args(FarthestRule):
        raise unknown_name("farthest rule", rule, get_args(FarthestRule))
    if clusters == 1:
        return single(n)
    pairs = np.where(np.triu(np.ones((n, n), dtype=bool), k=1), matrix, -np.inf)
    centres = [int(client) for client in np.unravel_index(pairs.argmax(), pairs.shape)]
    while len(centres) < clusters:
        to_centres = matrix[:, centres]
        score = to_centres.min(axis=1) if rule == "max_min" else to_centres.sum(axis=1)
        score[centres] = -np.inf
        centres.append(int(score.argmax()))
    centres.sort()  # so that arg min prefers the smallest id
    labels = matrix[:, centres].argmin(axis=1)
    labels[centres] = np.arange(clusters)
    return ordered(labels)


def oracle(groups: Labels) -> Labels:
    """The true groups as clusters; whoever opens them for this carries a badge."""
    return ordered(np.asarray(groups))


def random_like(groups: Labels, stream: np.random.Generator) -> Labels:
    """As many clusters as there are groups and of the same sizes, with random members."""
    return ordered(stream.permutation(np.asarray(groups)))


def singleton(n: int) -> Labels:
    """Every one of n clients in a cluster of its own."""
    return np.arange(n, dtype=np.int64)


@dataclass(frozen=True)
class Matching:
    """New clusters under the ids of the old ones that they continue, and the model with which each starts."""

    labels: Labels
    """The new clusters, relabelled, ids 0..K-1, shape (n,)."""
    sources: Labels
    """The old cluster whose model new cluster k starts with, shape (K,)."""
    continued: NDArray[np.bool_]
    """Whether k is that old cluster gone on (the model moves with all its state) or a split-off (it is copied)."""


def match_clusters(old: Labels, new: Labels) -> Matching:
    """Give recomputed clusters the identity, and so the server model, of the old clusters that they continue.

    Old and new clusters are paired one to one such that most clients stay in their cluster (Hungarian algorithm on
    the sizes of the intersections); among equally good pairings the one in which ids, new ones counted in the order of
    their smallest client, move least (sum of squared differences). A pair that shares no client is no pair. A new
    cluster in no pair copies the model of the old cluster that contributes most of its members (ties: the smallest
    id); an old cluster in no pair is dropped.

    A paired cluster keeps its old id if that is below the number of new clusters, so always unless their number falls;
    the other ids go to the rest, first paired clusters by old id, then the others by smallest client.

    Args:
        old: cluster of each client so far, shape (n,); ids need not be dense (k-means may leave some empty).
        new: cluster of each client now, shape (n,); ids mean nothing beyond who shares one.
    Raises:
        ValueError: the two have not the same clients.
    """
    from scipy.optimize import linear_sum_assignment

    if len(old) != len(new):
        raise ValueError(f"cannot match the clusters of {len(old)} clients with those of {len(new)}")
    new = ordered(new)
    old_count, new_count = int(old.max()) + 1, int(new.max()) + 1
    shared = np.zeros((old_count, new_count), dtype=np.int64)
    np.add.at(shared, (old, new), 1)
    moved = (np.arange(old_count)[:, None] - np.arange(new_count)[None, :]) ** 2
    one_client = 1 + min(shared.shape) * int(moved.max())  # outweighs every difference in moved ids
    rows, columns = linear_sum_assignment(shared * one_client - moved, maximize=True)
    pairs = {int(k): int(o) for o, k in zip(rows, columns, strict=True) if shared[o, k]}

    ids = {k: o for k, o in pairs.items() if o < new_count}
    free = sorted(set(range(new_count)) - set(ids.values()))
    rest = sorted(set(range(new_count)) - set(ids), key=lambda k: (pairs.get(k, old_count), k))
    ids |= dict(zip(rest, free, strict=True))

    position = np.array([ids[k] for k in range(new_count)])
    sources, continued = np.empty(new_count, dtype=np.int64), np.empty(new_count, dtype=bool)
    sources[position] = [pairs.get(k, int(shared[:, k].argmax())) for k in range(new_count)]
    continued[position] = [k in pairs for k in range(new_count)]
    return Matching(position[new], sources, continued)


def _distinct(ascending: Numbers) -> tuple[Numbers, Labels]:
    """0 and the distinct values of a sorted array, and how many entries are at most each of them."""
    values = np.unique(np.concatenate([[0.0], ascending]))
    return values, np.searchsorted(ascending, values, side="right")


@dataclass(frozen=True)
class _Elimination:
    """How greedy elimination went."""

    labels: Labels
    """The step in which each client was taken, from 0; the number of steps allowed for clients that are left."""
    centres: list[int]
    """The centre of each step."""
    slack: Numbers
    """How many neighbours each client can gain, if nobody else does, without becoming a centre in an earlier step."""
    complete: bool
    """Whether nobody is left."""


def _eliminate(near: NDArray[np.float32], most: int) -> _Elimination:
    """Take at most `most` clusters off an adjacency matrix of 0 and 1 with ones on the diagonal.

    Counts are exact in float32, for which the matrix products are fast.
    """
    n = len(near)
    ids = np.arange(n)
    degrees = near.sum(axis=0)
    labels = np.full(n, most, dtype=np.int64)
    left = np.ones(n, dtype=np.float32)
    slack = np.full(n, np.inf)
    centres: list[int] = []
    for k in range(most):
        centre = int(degrees.argmax())  # arg max: the smallest id among equals
        centres.append(centre)
        ahead = degrees[centre] - degrees - (ids < centre)
        ahead[centre] = np.inf
        slack = np.minimum(slack, ahead)
        members = near[centre] * left
        labels[members > 0] = k
        left -= members
        if not left.any():
            break
        degrees = np.where(left > 0, degrees - near @ members, -np.inf)
    return _Elimination(labels, centres, slack, complete=not left.any())


def _first_change(found: _Elimination, pairs: list[tuple[int, int]], begin: int) -> int:
    """The first of `pairs[begin:]`, in the order in which they become neighbours, that may change `found`.

    Up to there every step has the same centre, since no client left in it gained more neighbours than its slack, and
    takes the same members, since no client left in it became a neighbour of the centre. A failure stays a failure.
    """
    step, slack = found.labels.tolist(), found.slack.tolist()
    is_centre = [False] * len(step)
    for centre in found.centres:
        is_centre[centre] = True
    for index in range(begin, len(pairs)):
        i, j = pairs[index]
        if (is_centre[i] and step[j] > step[i]) or (is_centre[j] and step[i] > step[j]):
            return index
        slack[i] -= 1
        slack[j] -= 1
        if slack[i] < 0 or slack[j] < 0:
            return index
    raise AssertionError("all clients are neighbours, and yet some are left")
