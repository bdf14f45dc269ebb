"""`fl_bench.methods.clustering`: clusters by hand, other implementations, and what always holds."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_bench.errors import ConfigError
from fl_bench.methods.clustering import agglomerative, kmeans
from fl_bench.streams import numpy_stream

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Labels = NDArray[np.int64]


def on_a_line(*positions: float) -> Tensor:
    """Distances between clients at these positions."""
    places = torch.tensor(positions, dtype=torch.float64)
    return (places[:, None] - places[None, :]).abs()


def with_edges(n: int, levels: dict[float, list[tuple[int, int]]], beyond: float) -> Tensor:
    """Distances of n clients: the given ones by level, `beyond` for every other pair."""
    distances = torch.full((n, n), beyond, dtype=torch.float64).fill_diagonal_(0)
    for level, pairs in levels.items():
        for i, j in pairs:
            distances[i, j] = distances[j, i] = level
    return distances


def planted(seed: int, groups: Labels, noise: float = 0.1) -> Tensor:
    """Predictions of clients that agree within their group up to noise; 30 samples, 4 classes."""
    rng = np.random.default_rng(seed)
    per_group = rng.dirichlet(np.full(4, 0.3), (groups.max() + 1, 30))
    own = rng.dirichlet(np.ones(4), (len(groups), 30))
    return torch.tensor((1 - noise) * per_group[groups] + noise * own, dtype=torch.float32)


def in_order(labels: Labels) -> bool:
    """Whether ids are 0, 1, ... by smallest member."""
    _, first = np.unique(labels, return_index=True)
    return labels.dtype == np.int64 and set(labels) == set(range(len(first))) and list(first) == sorted(first)


def points(*values: float) -> Tensor:
    """Clients that are single numbers: one sample, one class."""
    return torch.tensor(values, dtype=torch.float64).reshape(-1, 1, 1)


# --- complete linkage


def test_complete_linkage_merges_by_the_farthest_members() -> None:
    # At 0, 1, 2.5, 4.5: {0,1} merge at 1. Then {2.5, 4.5} is at 2 and {0, 1, 2.5} would be at 2.5 (single linkage,
    # at 1.5, would take it).
    assert agglomerative(on_a_line(0, 1, 2.5, 4.5), 2).tolist() == [0, 0, 1, 1]


def test_complete_linkage_makes_exactly_as_many_clusters_even_of_equal_distances() -> None:
    for clusters in range(1, 6):
        labels = agglomerative(with_edges(5, {}, beyond=1.0), clusters)
        assert labels.max() + 1 == clusters
        assert in_order(labels)


def test_automatic_number_by_silhouette() -> None:
    # Pairs at 0, 1 and 10, 11 and 20, 21. With K = 3 every client has a = 1 and b near 10: silhouette about 0.9. K = 2
    # puts two pairs together (a near 7), K = 4 and 5 leave single clients, which score 0.
    assert agglomerative(on_a_line(0, 10, 20, 1, 11, 21)).tolist() == [0, 1, 2, 0, 1, 2]
    # Merges at 1, then {0, 1, 3} at 3, then {6, 10} at 4. Single linkage would chain 6 to 3 at 3.
    assert agglomerative(on_a_line(0, 1, 3, 6, 10)).tolist() == [0, 0, 0, 1, 1]


def test_automatic_number_reaches_all_but_one() -> None:
    # Clients 0 and 1 at 1 from each other, 10 from the others, which are at 12. K = 3 scores .9, .9, 0, 0. K = 2
    # adds a third client to the pair, a = 5.5 and b = 10 for two and a = 10, b = 12 for it: .45, .45, .17, 0.
    assert agglomerative(with_edges(4, {1.0: [(0, 1)], 12.0: [(2, 3)]}, beyond=10.0)).tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize(
    ("distances", "why"),
    [
        (torch.zeros(4, 4), "equal clients"),
        (with_edges(4, {1.0 + 1e-12: [(0, 1)]}, beyond=1.0), "equal distances but for rounding"),
        (on_a_line(0, 5), "two clients"),
        (on_a_line(0), "one client"),
    ],
)
def test_automatic_number_is_1_where_nothing_tells_clusters(distances: Tensor, why: str) -> None:
    assert agglomerative(distances).tolist() == [0] * len(distances), why


def test_among_equal_silhouettes_the_smallest_number_is_taken() -> None:
    # K = 3, {0, 0}, {2, 2, 3}, {5}: 1, 1; a = 1/2 and b = 2 for both at 2, 3/4 each; a = 1, b = 2 at 3, 1/2; 0 alone.
    # K = 4, {0, 0}, {2, 2}, {3}, {5}: 1 four times and twice 0 alone. Both sum to 4, more than any other K.
    assert agglomerative(on_a_line(0, 0, 2, 2, 3, 5)).tolist() == [0, 0, 1, 1, 1, 2]


# --- k-means


def test_kmeans_by_hand_with_a_start() -> None:
    # 0, 2, 6, 8 from centroids 5 and 0.5: 6 and 8 join cluster 0, 0 and 2 cluster 1; means 7 and 1; no change. Every
    # client is 1 from its mean: inertia 4. Ids are the start's, not those of the smallest client.
    result = kmeans(points(0, 2, 6, 8), 2, start=points(5, 0.5))
    assert result.labels.tolist() == [1, 1, 0, 0]
    assert result.centroids.flatten().tolist() == pytest.approx([7, 1])
    assert result.inertia == pytest.approx(4)


def test_kmeans_moves_until_nobody_moves() -> None:
    # 0, 1, 2, 10 from 0 and 1: {0}, {1, 2, 10} with means 0 and 13/3; then 1 and 2 are nearer to 0: {0, 1, 2}, {10}.
    result = kmeans(points(0, 1, 2, 10), 2, start=points(0, 1))
    assert result.labels.tolist() == [0, 0, 0, 1]
    assert result.centroids.flatten().tolist() == pytest.approx([1, 10])
    assert result.inertia == pytest.approx(2)


def test_an_empty_cluster_keeps_its_centroid() -> None:
    start = points(1, 100, 9)
    result = kmeans(points(0, 2, 8, 10), 3, start=start)
    assert result.labels.tolist() == [0, 0, 2, 2]
    assert result.centroids.flatten().tolist() == pytest.approx([1, 100, 9])


def test_continuing_from_ones_own_centroids_changes_nothing() -> None:
    predictions = planted(0, np.repeat([0, 1, 2], 4), noise=0.6)
    first = kmeans(predictions, 3, stream=numpy_stream(0, "clustering"))
    for order in permutations(range(3)):
        again = kmeans(predictions, 3, start=first.centroids[list(order)])
        assert np.array_equal(np.array(order)[again.labels], first.labels)
        assert torch.allclose(again.centroids, first.centroids[list(order)])
        assert again.inertia == pytest.approx(first.inertia, rel=1e-5)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), clusters=st.integers(1, 4))
def test_kmeans_ends_in_a_fixed_point_of_lloyd(seed: int, clusters: int) -> None:
    predictions = planted(seed, np.arange(9) % 3, noise=0.8).double()
    result = kmeans(predictions, clusters, stream=numpy_stream(seed, "clustering"))
    assert in_order(result.labels)
    squared = ((predictions[:, None] - result.centroids[None]) ** 2).sum(dim=(2, 3))
    assert np.array_equal(squared.argmin(dim=1).numpy(), result.labels)
    assert result.inertia == pytest.approx(squared.min(dim=1).values.sum().item())
    for k in range(clusters):
        assert torch.allclose(result.centroids[k], predictions[result.labels == k].mean(dim=0))


def test_kmeans_from_the_same_start_agrees_with_scikit_learn() -> None:
    from sklearn.cluster import KMeans

    predictions = planted(1, np.arange(40) % 5, noise=0.9).double()
    start = predictions[[0, 1, 7, 11, 30]]
    flat = predictions.flatten(1).numpy()
    other = KMeans(5, init=start.flatten(1).numpy(), n_init=1, tol=0.0).fit(flat)
    result = kmeans(predictions, 5, start=start)
    assert np.array_equal(result.labels, other.labels_)
    assert result.inertia == pytest.approx(other.inertia_)


def test_ten_starts_find_what_a_bad_start_misses() -> None:
    # Two far pairs: the best two clusters cost 1/2 each. Both from one pair as centres cost the other split.
    predictions = points(0, 1, 100, 101)
    for seed in range(20):
        assert kmeans(predictions, 2, stream=numpy_stream(seed, "clustering")).inertia == pytest.approx(1)
    # Six clients far from a hundred and from each other: uniform starts, six of seven of which are among the hundred,
    # do not find them.
    spread = points(*np.linspace(0, 1, 100), *range(1000, 7000, 1000))
    for seed in range(5):
        labels = kmeans(spread, 7, stream=numpy_stream(seed, "clustering")).labels
        assert labels.tolist() == [0] * 100 + [1, 2, 3, 4, 5, 6]


def test_fewer_different_clients_than_clusters_leave_some_empty() -> None:
    result = kmeans(points(3, 5, 3, 5), 3, stream=numpy_stream(0, "clustering"))
    assert result.labels.tolist() == [0, 1, 0, 1]
    assert result.centroids.flatten()[:2].tolist() == pytest.approx([3, 5])
    assert result.centroids.shape == (3, 1, 1)
    assert result.inertia == 0


def test_kmeans_keeps_dtype_and_depends_on_its_stream_only() -> None:
    predictions = planted(2, np.arange(10) % 2, noise=0.9)
    one, two = (kmeans(predictions, 4, stream=numpy_stream(7, "clustering")) for _ in range(2))
    assert one.centroids.dtype == torch.float32
    assert kmeans(predictions, 4, start=one.centroids.double()).centroids.dtype == torch.float32
    assert torch.equal(one.centroids, two.centroids)
    assert np.array_equal(one.labels, two.labels)


def test_weights_count_clients_in_means_and_inertia() -> None:
    # 0 counts 3, 2 counts 1: their mean is 1/2, 3 * 1/4 + 1 * 9/4 = 3. 10 counts 5, alone.
    weights = torch.tensor([3.0, 1.0, 5.0])
    for found in (
        kmeans(points(0, 2, 10), 2, weights=weights, start=points(1, 9)),
        kmeans(points(0, 2, 10), 2, weights=weights, stream=numpy_stream(0, "clustering")),
    ):
        assert found.labels.tolist() == [0, 0, 1]
        assert found.centroids.flatten().tolist() == pytest.approx([0.5, 10])
        assert found.inertia == pytest.approx(3)


def test_weights_decide_which_clients_share_a_cluster() -> None:
    # 0, 4 and 10 as two clusters: {0, 4} and {10} costs 4^2 / 2 = 8, {0} and {4, 10} costs 6^2 / 2 = 18. With 100 for
    # the first client {0, 4} costs 100 / 101 * 16 = 15.8, still less; with 100 for the first two, 800 against 35.6.
    for weights, labels in (([1, 1, 1], [0, 0, 1]), ([100, 1, 1], [0, 0, 1]), ([100, 100, 1], [0, 1, 1])):
        found = kmeans(points(0, 4, 10), 2, weights=torch.tensor(weights), stream=numpy_stream(0, "clustering"))
        assert found.labels.tolist() == labels


def test_a_copy_counts_as_much_as_a_weight_of_2() -> None:
    predictions = planted(4, np.arange(12) % 3, noise=0.8).double()
    start = predictions[:3]
    weights = torch.ones(12)
    weights[[2, 7]] = 2
    twice = kmeans(predictions[[*range(12), 2, 7]], 3, start=start)
    weighted = kmeans(predictions, 3, weights=weights, start=start)
    assert np.array_equal(weighted.labels, twice.labels[:12])
    assert torch.allclose(weighted.centroids, twice.centroids)
    assert weighted.inertia == pytest.approx(twice.inertia)


def test_with_a_start_there_may_be_more_clusters_than_clients() -> None:
    found = kmeans(points(4), 3, start=points(0, 3, 9))
    assert found.labels.tolist() == [1]
    assert found.centroids.flatten().tolist() == pytest.approx([0, 4, 9])


def test_settings_of_clusterings_are_checked() -> None:
    for clusters in (0, 4):
        for cluster in (
            lambda k: agglomerative(on_a_line(0, 1, 2), k),
            lambda k: kmeans(points(0, 1, 2), k, stream=numpy_stream(0)),
        ):
            with pytest.raises(ConfigError, match=f"from 1 to the number of clients, 3, got {clusters}"):
                cluster(clusters)
    with pytest.raises(ValueError, match="a stream for its starts"):
        kmeans(points(0, 1), 2)
    with pytest.raises(ValueError, match="asked for 2 clusters and got 1 centroids"):
        kmeans(points(0, 1), 2, start=points(0))
