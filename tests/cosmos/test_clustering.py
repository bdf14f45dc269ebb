"""`fl_bench.cosmos.clustering`: clusters by hand, slow second implementations, and what always holds."""

from __future__ import annotations

import math
from itertools import pairwise as successive
from itertools import permutations
from typing import TYPE_CHECKING, get_args

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fl_bench.cosmos.clustering import (
    FarthestRule,
    farthest,
    greedy_eps,
    greedy_k,
    greedy_step,
    match_clusters,
    oracle,
    random_like,
    singleton,
)
from fl_bench.cosmos.distances import Distance, pairwise
from fl_bench.errors import ConfigError
from fl_bench.methods.clustering import agglomerative, kmeans, single
from fl_bench.streams import numpy_stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    Labels = NDArray[np.int64]

FARTHEST = get_args(FarthestRule)


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


def random_distances(seed: int, n: int, values: int | None = None) -> Tensor:
    """Symmetric and unstructured; `values` limits them to 1, 2, ..., so that there are ties."""
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((n, n)) if values is None else rng.integers(1, values + 1, (n, n)), k=1)
    return torch.tensor(upper + upper.T, dtype=torch.float64)


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


def same_clusters(a: Labels, b: Labels) -> bool:
    return bool(np.array_equal(a[:, None] == a[None, :], b[:, None] == b[None, :]))


def eliminate(distances: Tensor, epsilon: float) -> list[set[int]]:
    """Greedy elimination word by word from methods.md 2.3 (a), in the order in which clusters are made."""
    rest, clusters = list(range(len(distances))), []
    while rest:
        neighbours = {i: {j for j in rest if j != i and distances[i, j] <= epsilon} for i in rest}
        centre = max(rest, key=lambda i: (len(neighbours[i]), -i))
        clusters.append({centre} | neighbours[centre])
        rest = [i for i in rest if i not in clusters[-1]]
    return clusters


def has_ties_that_matter(distances: Tensor, epsilon: float) -> bool:
    """Whether two candidate centres of equal degree have neighbourhoods that overlap without being equal."""
    rest = set(range(len(distances)))
    while rest:
        around = {i: frozenset(j for j in rest if j == i or distances[i, j] <= epsilon) for i in rest}
        most = max(len(members) for members in around.values())
        best = [members for members in around.values() if len(members) == most]
        if any(a != b and a & b for a in best for b in best):
            return True
        rest -= best[0]
    return False


# --- greedy elimination


def test_greedy_takes_the_star_with_most_neighbours_first() -> None:
    # At 0, 1, 2, 3, 4 and 9 with threshold 1 the clients 1, 2, 3 have two neighbours each; the smallest id is 1, whose
    # star is {0, 1, 2}. Left are 3 and 4, neighbours, and 9 alone.
    labels = greedy_eps(on_a_line(0, 1, 2, 3, 4, 9), 1.0)
    assert labels.tolist() == [0, 0, 0, 1, 1, 2]
    assert in_order(labels)


def test_greedy_counts_only_neighbours_that_are_left() -> None:
    # Client 5 is the centre of {5, 0, 1, 2, 3} with four neighbours and goes first. Before that client 4 has the
    # neighbours 1, 2, 3, none of which is left then, so {6, 7} is next, and 4 stays alone.
    edges = [(5, 0), (5, 1), (5, 2), (5, 3), (4, 1), (4, 2), (4, 3), (6, 7)]
    assert greedy_eps(with_edges(8, {1.0: edges}, beyond=2.0), 1.0).tolist() == [0, 0, 0, 0, 1, 0, 2, 2]


def test_greedy_ids_follow_the_smallest_client_not_the_order_of_elimination() -> None:
    assert greedy_eps(on_a_line(0, 10, 11, 12, 1), 1.0).tolist() == [0, 1, 1, 1, 0]


def test_greedy_at_the_extremes() -> None:
    distances = on_a_line(0, 1, 3, 3, 7)
    assert greedy_eps(distances, 0.0).tolist() == [0, 1, 2, 2, 3]  # equal clients are within 0 of each other
    assert greedy_eps(distances, 7.0).tolist() == [0] * 5


def test_greedy_k_by_hand() -> None:
    # Clients at 0, 1, 3, 7. Distances 1 {0,1}, 2 {1,2}, 3, 4, 6, 7. At 0: 4 clusters; at 1: {0,1}, {2}, {3}; at 2:
    # {0,1,2}, {3}; at 4 client 2 has all three others as neighbours: one cluster.
    distances = on_a_line(0, 1, 3, 7)
    expected = {4: ([0, 1, 2, 3], 0), 3: ([0, 0, 1, 2], 1), 2: ([0, 0, 0, 1], 2), 1: ([0, 0, 0, 0], 4)}
    for clusters, (labels, epsilon) in expected.items():
        found, threshold = greedy_k(distances, clusters)
        assert (found.tolist(), threshold) == (labels, epsilon)


def test_greedy_k_is_exact_where_the_number_of_clusters_rises_with_the_threshold() -> None:
    # At 1: two stars of three leaves, 0 with 1, 2, 3 and 4 with 5, 6, 7. At 2 leaf 1 also reaches 5, 6, 7 and, with
    # four neighbours, goes first and takes {0, 5, 6, 7}: 2, 3 and 4 have lost their only neighbours. At 3: all.
    stars = [(0, 1), (0, 2), (0, 3), (4, 5), (4, 6), (4, 7)]
    distances = with_edges(8, {1.0: stars, 2.0: [(1, 5), (1, 6), (1, 7)]}, beyond=3.0)
    assert greedy_eps(distances, 1.0).tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert greedy_eps(distances, 2.0).tolist() == [0, 0, 1, 2, 3, 0, 0, 0]
    assert greedy_eps(distances, 3.0).tolist() == [0] * 8
    for clusters in (2, 3):  # bisection would see 4 clusters at 2 and go on to 3
        labels, epsilon = greedy_k(distances, clusters)
        assert (labels.tolist(), epsilon) == ([0, 0, 0, 0, 1, 1, 1, 1], 1.0)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**6), n=st.integers(1, 11), values=st.sampled_from([None, 2, 4, 12]), share=st.floats(0, 1)
)
def test_greedy_k_agrees_with_trying_every_threshold(seed: int, n: int, values: int | None, share: float) -> None:
    distances = random_distances(seed, n, values)
    clusters = 1 + int(share * (n - 1))
    candidates = sorted({0.0, *distances.flatten().tolist()})
    epsilon = next(e for e in candidates if len(eliminate(distances, e)) <= clusters)
    expected = np.empty(n, dtype=np.int64)
    for k, members in enumerate(sorted(eliminate(distances, epsilon), key=min)):
        expected[list(members)] = k
    labels, threshold = greedy_k(distances, clusters)
    assert (labels.tolist(), threshold) == (expected.tolist(), epsilon)
    assert np.array_equal(greedy_eps(distances, epsilon), expected)


def test_the_number_of_clusters_is_often_not_monotone() -> None:
    # What forbids bisection is not a curiosity: it happens in about 39 % of random instances of eight clients.
    def rises(seed: int) -> bool:
        distances = random_distances(seed, 8)
        counts = [greedy_eps(distances, epsilon).max() for epsilon in sorted(distances.flatten().tolist())]
        return any(later > earlier for earlier, later in successive(counts))

    assert 0.2 < np.mean([rises(seed) for seed in range(100)]) < 0.6


def test_greedy_k_of_200_clients_without_structure_is_exact() -> None:
    # The hard case: 19 901 candidates, of which most are skipped. Those nearest below the answer are tried here.
    labels, epsilon = greedy_k(random_distances(0, 200), 20)
    assert labels.max() + 1 <= 20
    assert np.array_equal(greedy_eps(random_distances(0, 200), epsilon), labels)
    distinct = np.unique(random_distances(0, 200).numpy())
    below = distinct[distinct < epsilon][-300:]
    assert all(greedy_eps(random_distances(0, 200), e).max() + 1 > 20 for e in below[::10])


def test_greedy_step_walks_a_grid_and_may_miss_the_target_number() -> None:
    # As in the example by hand above: steps of 2.5 try 2.5 (two clusters) and 5 (one).
    distances = on_a_line(0, 1, 3, 7)
    for clusters, (labels, epsilon) in {3: ([0, 0, 0, 1], 2.5), 1: ([0, 0, 0, 0], 5.0)}.items():
        found, threshold = greedy_step(distances, clusters, 2.5)
        assert (found.tolist(), threshold) == (labels, epsilon)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), epsilon=st.floats(0.1, 0.9), order=st.permutations(range(7)))
def test_permuting_clients_permutes_greedy_clusters(seed: int, epsilon: float, order: list[int]) -> None:
    distances = random_distances(seed, 7)
    assume(not has_ties_that_matter(distances, epsilon))
    assert same_clusters(greedy_eps(distances[order][:, order], epsilon), greedy_eps(distances, epsilon)[order])


# --- farthest point


def test_farthest_by_hand() -> None:
    # Clients at 0, 10, 4, 9 and 6. The most distant pair is (0, 10). To these the minimum of 4 and of 6 is 4 each, of 9
    # it is 1; the smallest id among the tied is client 2, at 4. Client 4 at 6 then follows it, client 3 follows 10.
    assert farthest(on_a_line(0, 10, 4, 9, 6), 3).tolist() == [0, 1, 2, 1, 2]


def test_a_client_between_two_centres_follows_the_smaller_id_not_the_older_centre() -> None:
    # Clients at 5, 0, 7.5 and 10: the centres are 1 and 3, the pair, then 0. Client 2 is 2.5 from 0 and from 3.
    assert farthest(on_a_line(5, 0, 7.5, 10), 3).tolist() == [0, 1, 0, 2]


def test_the_rules_of_farthest_differ() -> None:
    # Clients 0, 1, 2, 3 with d(0,1) = 10, the first pair. Distances to it: client 2 (9, 2), client 3 (5, 5).
    # max_min: 2 against 5, so client 3; 2 joins 1. max_sum: 11 against 10, so client 2; 3 is at 5, 5 and 1 from it.
    far = with_edges(4, {10.0: [(0, 1)], 9.0: [(0, 2)], 2.0: [(1, 2)], 5.0: [(0, 3), (1, 3)], 6.0: [(2, 3)]}, 0.0)
    assert farthest(far, 3, "max_min").tolist() == [0, 1, 1, 2]
    assert farthest(far, 3, "max_sum").tolist() == [0, 1, 2, 0]  # 3 is at 5 from both 0 and 1: the smaller id


@pytest.mark.parametrize("rule", FARTHEST)
def test_farthest_makes_exactly_as_many_clusters_even_of_equal_clients(rule: FarthestRule) -> None:
    for clusters in range(1, 6):
        labels = farthest(torch.zeros(5, 5), clusters, rule)
        assert labels.max() + 1 == clusters
        assert in_order(labels)
    assert farthest(on_a_line(0, 1, 5), 1, rule).tolist() == [0, 0, 0]
    assert farthest(torch.zeros(5, 5), 2, rule).tolist() == [0, 1, 0, 0, 0]  # the pair (0, 1); the rest ties to 0


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    clusters=st.integers(1, 7),
    rule=st.sampled_from(FARTHEST),
    order=st.permutations(range(7)),
)
def test_permuting_clients_permutes_farthest_and_agglomerative_clusters(
    seed: int, clusters: int, rule: FarthestRule, order: list[int]
) -> None:
    distances = random_distances(seed, 7)
    moved = distances[order][:, order]
    assert same_clusters(farthest(moved, clusters, rule), farthest(distances, clusters, rule)[order])
    assert same_clusters(agglomerative(moved, clusters), agglomerative(distances, clusters)[order])
    assert same_clusters(agglomerative(moved), agglomerative(distances)[order])


# --- every variant


VARIANTS: dict[str, Callable[[Tensor, Distance, int], Labels]] = {
    "greedy_k": lambda p, d, k: greedy_k(pairwise(p, d), k)[0],
    "farthest max_min": lambda p, d, k: farthest(pairwise(p, d), k, "max_min"),
    "farthest max_sum": lambda p, d, k: farthest(pairwise(p, d), k, "max_sum"),
    "agglomerative": lambda p, d, k: agglomerative(pairwise(p, d), k),
    "agglomerative auto": lambda p, d, _: agglomerative(pairwise(p, d)),
    "kmeans": lambda p, _, k: kmeans(p, k, stream=numpy_stream(0, "clustering")).labels,
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("distance", get_args(Distance))
@pytest.mark.parametrize("seed", [0, 1])
def test_planted_groups_are_recovered_in_any_order_of_clients(variant: str, distance: Distance, seed: int) -> None:
    groups = np.random.default_rng(seed).permutation(np.repeat([0, 1, 2, 3], [2, 3, 4, 5]))
    labels = VARIANTS[variant](planted(seed, groups), distance, groups.max() + 1)
    assert same_clusters(labels, groups)
    assert in_order(labels)


def test_greedy_eps_recovers_planted_groups_with_a_threshold_between() -> None:
    groups = np.array([0, 1, 2, 0, 1, 2, 0])
    distances = pairwise(planted(3, groups), "l2")
    within = distances[torch.tensor(groups[:, None] == groups[None, :])].max().item()
    between = distances[torch.tensor(groups[:, None] != groups[None, :])].min().item()
    assert within < between
    assert same_clusters(greedy_eps(distances, (within + between) / 2), groups)


def test_clusters_that_look_at_no_prediction() -> None:
    groups = np.array([2, 2, 0, 1, 0, 0])
    assert oracle(groups).tolist() == [0, 0, 1, 2, 1, 1]
    assert single(3).tolist() == [0, 0, 0]
    assert singleton(3).tolist() == [0, 1, 2]
    draws = [random_like(groups, numpy_stream(seed, "clustering")) for seed in range(10)]
    assert all(sorted(np.bincount(labels)) == [1, 2, 3] for labels in draws)
    assert all(in_order(labels) for labels in [*draws, oracle(groups), single(3), singleton(3)])
    assert len({tuple(labels) for labels in draws}) > 5


def test_settings_of_clusterings_are_checked() -> None:
    distances = on_a_line(0, 1, 2)
    for clusters in (0, 4):
        with pytest.raises(ConfigError, match=f"from 1 to the number of clients, 3, got {clusters}"):
            farthest(distances, clusters)
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        greedy_k(distances, 0)
    assert greedy_k(distances, 9)[0].tolist() == [0, 1, 2]  # "at most" nine
    for epsilon in (-1.0, math.nan):
        with pytest.raises(ConfigError, match="epsilon must be at least 0"):
            greedy_eps(distances, epsilon)
    with pytest.raises(ConfigError, match="no farthest rule is named 'maxmin'"):
        farthest(distances, 2, "maxmin")  # type: ignore[arg-type]
    for wrong in (torch.zeros(2, 3), torch.full((2, 2), math.nan)):
        with pytest.raises(ValueError, match="square matrix of finite distances"):
            greedy_k(wrong, 1)


# --- identity of clusters over time


def check_matching(
    old: list[int], new: list[int], labels: list[int], sources: list[int], continued: list[bool]
) -> None:
    found = match_clusters(np.array(old), np.array(new))
    assert found.labels.tolist() == labels
    assert found.sources.tolist() == sources
    assert found.continued.tolist() == continued


def test_the_same_clusters_keep_their_ids_whatever_the_new_ones_are_called() -> None:
    check_matching([1, 0, 2, 0], [0, 1, 5, 1], [1, 0, 2, 0], [0, 1, 2], [True] * 3)


def test_a_split_continues_in_the_larger_part_and_copies_its_model_for_the_other() -> None:
    # Old 0 = {0..4} becomes {0, 1} and {2, 3, 4}: overlaps 2 and 3. The latter stays 0, the former is the new id 2.
    check_matching([0] * 5 + [1] * 2, [0, 0, 1, 1, 1, 2, 2], [2, 2, 0, 0, 0, 1, 1], [0, 1, 0], [True, True, False])


def test_a_merger_continues_the_larger_part_and_drops_the_other() -> None:
    # {0, 1} of old 0 and {2, 3, 4} of old 1 merge: it is old 1. Old 2 = {5, 6} goes on, but with two clusters left
    # there is no id 2: it gets the id 0 that was freed.
    check_matching([0, 0, 1, 1, 1, 2, 2], [0] * 5 + [1] * 2, [1] * 5 + [0] * 2, [2, 1], [True, True])


def test_matching_is_optimal_not_greedy() -> None:
    # Old 0 = {0..6}, old 1 = {7, 8, 9}; new X = {0, 1, 2, 3, 7, 8, 9}, Y = {4, 5, 6}. Overlaps X: 4 and 3, Y: 3 and 0.
    # The largest entry first (0-X, 4) leaves 1-Y with 0; 0-Y with 1-X keeps 3 + 3.
    new = [0, 0, 0, 0, 1, 1, 1, 0, 0, 0]
    check_matching([0] * 7 + [1] * 3, new, [1, 1, 1, 1, 0, 0, 0, 1, 1, 1], [0, 1], [True, True])


def test_a_pair_without_a_common_client_is_none() -> None:
    # Old 0 = {0}, old 1 = {1..4}; new {1} and {0, 2, 3, 4}. The best pairing is 1 with {0, 2, 3, 4}, which leaves old 0
    # and {1}, strangers: {1} copies the model it had, old 1, and old 0 is dropped.
    check_matching([0, 1, 1, 1, 1], [1, 0, 1, 1, 1], [1, 0, 1, 1, 1], [1, 1], [False, True])


def test_a_newly_formed_cluster_of_equal_parts_copies_the_smaller_id() -> None:
    # {2, 5} takes one client of each old cluster, which go on in {0, 1} and {3, 4}.
    check_matching([0, 0, 0, 1, 1, 1], [0, 0, 2, 1, 1, 2], [0, 0, 2, 1, 1, 2], [0, 1, 0], [True, True, False])


def test_equally_good_pairings_move_ids_least() -> None:
    # All overlaps are 1: {0, 2} is 0 and {1, 3} is 1, since they are first and second by smallest client.
    check_matching([0, 0, 1, 1], [1, 0, 1, 0], [0, 1, 0, 1], [0, 1], [True, True])
    check_matching([1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1], [0, 1], [True, True])


def test_an_equally_good_pairing_that_moves_no_id_is_preferred() -> None:
    # Old {0, 1, 2}, {3}, {4}; new {0}, {1, 2, 3}, {4}. Pairing 0 with 0 and 1 with 1 keeps 1 + 1 clients, pairing old 0
    # with new 1 keeps 2 and leaves old 1 without.
    check_matching([0, 0, 0, 1, 2], [0, 1, 1, 1, 2], [0, 1, 1, 1, 2], [0, 1, 2], [True] * 3)


def test_freed_ids_go_to_survivors_in_the_order_of_their_old_ids() -> None:
    # Two clusters are left, old 2 = {3, 4, 5} and old 3 = {0, 1, 2}, each with a client of a dropped one.
    new = [0, 0, 0, 1, 1, 1, 0, 1]
    check_matching([3, 3, 3, 2, 2, 2, 0, 1], new, [1, 1, 1, 0, 0, 0, 1, 0], [2, 3], [True, True])


def test_old_ids_need_not_be_dense() -> None:
    # Old 1 was an empty k-means cluster. Two clusters are left, so old 2 gets the id 1.
    check_matching([0, 2, 2], [0, 1, 1], [0, 1, 1], [0, 2], [True, True])


labelling = st.lists(st.integers(0, 3), min_size=1, max_size=9)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), old=labelling)
def test_matchings_are_the_best_there_are(data: st.DataObject, old: list[int]) -> None:
    new = data.draw(st.lists(st.integers(0, 3), min_size=len(old), max_size=len(old)))
    before, after = np.array(old), np.array(new)
    found = match_clusters(before, after)
    count = len(set(new))
    assert same_clusters(found.labels, after)
    assert set(found.labels) == set(range(count)) == set(range(len(found.sources)))
    kept = found.sources[found.continued]
    assert len(set(kept)) == len(kept)  # no model is moved to two clusters

    def stay(pairing: dict[int, int]) -> int:
        """Clients that stay when new cluster k continues old cluster pairing[k]."""
        return sum(int(((found.labels == k) & (before == o)).sum()) for k, o in pairing.items())

    moved = {k: int(found.sources[k]) for k in range(count) if found.continued[k]}
    olds = [*sorted(set(old)), *[-1] * count]  # -1: continues nothing
    best = max(stay(dict(enumerate(choice))) for choice in set(permutations(olds, count)))
    assert stay(moved) == best
    for k in range(count):
        contributions = np.bincount(before[found.labels == k])
        if found.continued[k]:
            assert contributions[found.sources[k]] > 0
            assert k == found.sources[k] or found.sources[k] >= count
        else:
            assert contributions.argmax() == found.sources[k]


@settings(max_examples=50, deadline=None)
@given(old=labelling)
def test_matching_with_oneself_is_the_identity_when_ids_are_dense(old: list[int]) -> None:
    dense = np.unique(old, return_inverse=True)[1]
    found = match_clusters(dense, dense)
    assert np.array_equal(found.labels, dense)
    assert found.sources.tolist() == list(range(dense.max() + 1))
    assert found.continued.all()


def test_matching_needs_the_same_clients() -> None:
    with pytest.raises(ValueError, match="3 clients with those of 2"):
        match_clusters(single(3), single(2))
