"""`fl_bench.cosmos.emergence`: thresholds by hand, planted blocks, and what there is nothing to tell clusters by."""

from __future__ import annotations

import math
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, get_args

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score, silhouette_samples, silhouette_score

from fl_bench.cosmos.clustering import greedy_eps
from fl_bench.cosmos.distances import Distance, pairwise
from fl_bench.cosmos.emergence import (
    CANDIDATES,
    Emergence,
    by_gap,
    by_quantile,
    by_silhouette,
    by_stability,
    threshold,
)
from fl_bench.streams import numpy_stream

if TYPE_CHECKING:
    from torch import Tensor

RULES = get_args(Emergence)
DISTANCES = get_args(Distance)


def on_a_line(*positions: float) -> Tensor:
    """Distances between clients at these positions."""
    places = torch.tensor(positions, dtype=torch.float64)
    return (places[:, None] - places[None, :]).abs()


def planted(groups: list[int], noise: float, samples: int = 60, classes: int = 6) -> Tensor:
    """Predictions of clients whose groups say different things of every public sample."""
    rng = np.random.default_rng(3)
    said = rng.normal(size=(max(groups) + 1, samples, classes)) * 3
    logits = said[groups] + noise * rng.normal(size=(len(groups), samples, classes))
    return torch.from_numpy(logits).softmax(dim=-1)


def clusters(rule: Emergence, predictions: Tensor, distance: Distance = "l2", seed: int = 0) -> list[int]:
    """What greedy elimination makes of a rule's threshold."""
    distances = pairwise(predictions, distance)
    found = threshold(rule, predictions, distances, distance, numpy_stream(seed, "emergence", 0))
    return greedy_eps(distances, found).tolist()


# By hand


def test_silhouette_by_hand() -> None:
    # 0, 1, 10, 12. At 1: {0, 1}, {10}, {12} with silhouettes 9/10, 8/9, 0, 0, mean .45. At 2: {0, 1}, {10, 12} with
    # 1 - 1/11, 1 - 1/10, 1 - 2/9.5, 1 - 2/11.5, mean .856. From 9 on the client at 1 takes 0 and 10: 0 and 1 have
    # a = 5.5 and 5, b = 12 and 11, the client at 10 has a = 9.5, b = 2, so that the mean is small.
    distances = on_a_line(0, 1, 10, 12)
    assert by_silhouette(distances) == 2.0
    mean = 1 - (1 / 11 + 1 / 10 + 2 / 9.5 + 2 / 11.5) / 4
    assert by_silhouette(distances, floor=mean - 1e-6) == 2.0
    assert by_silhouette(distances, floor=mean + 1e-6) == 12.0  # not worth splitting for: one cluster


def test_clients_alone_in_their_cluster_have_silhouette_zero() -> None:
    # 0, 1, 3 with neighbours at 1: {0, 1}, {3}: 1 - 1/3, 1 - 1/2, 0, mean 7/18. Two is the largest distance but one:
    # the client at 1 takes both.
    assert by_silhouette(on_a_line(0, 1, 3), floor=7 / 18 - 1e-6) == 1.0
    assert by_silhouette(on_a_line(0, 1, 3), floor=7 / 18 + 1e-6) == 3.0


@pytest.mark.parametrize("seed", [1, 4, 5])  # with clients that are nearer to another cluster
def test_silhouette_against_scikit_learn(seed: int) -> None:
    # Ten clients have 45 distances, so that every one is tried. The floor tells what the best mean silhouette is.
    points = torch.from_numpy(np.random.default_rng(seed).normal(size=(10, 2)))
    distances = torch.cdist(points, points)
    found = {epsilon: greedy_eps(distances, epsilon) for epsilon in distances.numpy()[np.triu_indices(10, 1)]}
    scores = {
        epsilon: silhouette_score(distances.numpy(), labels, metric="precomputed")
        for epsilon, labels in found.items()
        if 1 < len(set(labels)) < 10
    }
    best = max(scores, key=lambda epsilon: (round(scores[epsilon], 9), epsilon))
    assert min(silhouette_samples(distances.numpy(), found[best], metric="precomputed")) < 0
    assert by_silhouette(distances, floor=scores[best] - 1e-6) == best
    assert by_silhouette(distances, floor=scores[best] + 1e-6) == distances.max()


def test_silhouette_tries_fifty_distances_evenly_spread_in_rank() -> None:
    # Positions 2^0 .. 2^11 have 66 different distances. Each of the fifty ranks round(k 65/49) is tried.
    asked = []
    distances = on_a_line(*(2.0**k for k in range(12)))
    values = np.unique(distances.numpy()[np.triu_indices(12, 1)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "fl_bench.cosmos.emergence.greedy_eps",
            lambda matrix, epsilon: (asked.append(epsilon), greedy_eps(matrix, epsilon))[1],
        )
        by_silhouette(distances)
    assert len(values) == 66
    assert asked == [values[round(k * 65 / 49)] for k in range(CANDIDATES)]


def test_gap_by_hand() -> None:
    # 0, 1, 10, 12: average linkage merges at 1, at 2 and at (10 + 12 + 9 + 11) / 4 = 10.5; a tenth into 2 .. 10.5.
    assert by_gap(on_a_line(0, 1, 10, 12)) == pytest.approx(2.85)


def test_equal_gaps_leave_the_fewest_clusters() -> None:
    # Merges at 1, 2 and 3: both gaps are 1, the upper one is taken.
    distances = torch.full((4, 4), 3.0, dtype=torch.float64).fill_diagonal_(0)
    distances[0, 1] = distances[1, 0] = 1.0
    distances[2, 3] = distances[3, 2] = 2.0
    assert by_gap(distances) == pytest.approx(2.1)
    assert greedy_eps(distances, by_gap(distances)).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(("share", "found"), [(0.1, 1), (1 / 6, 1), (0.2, 2), (1 / 3, 2), (0.5, 9), (1.0, 12)])
def test_quantile_by_hand(share: float, found: float) -> None:
    # The six distances 1, 2, 9, 10, 11, 12: the first that a share of them does not exceed.
    assert by_quantile(on_a_line(0, 1, 10, 12), share) == found


def test_quantile_is_clear_of_rounding() -> None:
    # .1 + .2 is a little more than .3, and .3 of ten pairs are the three at 1, 2 and 3.
    assert by_quantile(on_a_line(0, 1, 3, 7, 15), 0.1 + 0.2) == 3.0


def test_quantile_is_a_tenth_of_all_pairs() -> None:
    # 21 clients have 210 pairs; on a line of steps of 1 the 20 nearest are at 1, the 21st at 2.
    assert by_quantile(on_a_line(*range(21))) == 2.0
    assert by_quantile(on_a_line(*range(20))) == 1.0  # 190 pairs, 19 at 1


def test_stability_by_hand() -> None:
    # Two public samples, so the only parts are one sample each. Probabilities of the first of two classes:
    said = torch.tensor([[0, 0], [0, 0.25], [0.75, 0.75], [1, 1]], dtype=torch.float64)
    # l2 distances are the root of the mean of 2 (difference)^2: .25 between the first two, root .125 between the last
    # two, more than .9 across. At .25 all samples say {0, 1}, {2}, {3}, the first sample says so, too, and the second,
    # where the first two are root .125 apart, four singletons: index 0. At root .125 both say {0, 1}, {2, 3}: index 1.
    # At root .8125, between clients 1 and 2, the first keeps them, and the second has {0, 1, 2}, {3}: index 0.
    predictions = torch.stack([said, 1 - said], dim=-1)
    distances = pairwise(predictions, "l2")
    for seed in range(2):
        found = by_stability(predictions, distances, "l2", numpy_stream(seed, "emergence", 0))
        assert found == pytest.approx(math.sqrt(0.125))


@pytest.mark.parametrize("seed", range(6))
def test_stability_against_a_second_implementation(seed: int) -> None:
    # Twenty parts of three samples, eight pairs of them; the agreement is scikit-learn's. Ties: the largest threshold.
    predictions = planted([0, 0, 1, 1, 2], 3.0)
    distances = pairwise(predictions, "l2")
    stream = numpy_stream(seed, "emergence", 0)
    parts = [pairwise(predictions[:, rows], "l2") for rows in stream.permutation(60).reshape(20, 3)]
    pairs = [stream.choice(20, size=2, replace=False) for _ in range(8)]
    scores = {}
    for epsilon in np.unique(distances.numpy()[np.triu_indices(5, 1)]):
        if len(set(greedy_eps(distances, epsilon).tolist())) > 1:
            scores[epsilon] = np.mean(
                [adjusted_rand_score(*(greedy_eps(parts[part], epsilon) for part in pair)) for pair in pairs]
            )
    best = max(scores, key=lambda epsilon: (round(scores[epsilon], 9), epsilon))
    assert len(set(scores.values())) > 2
    assert by_stability(predictions, distances, "l2", numpy_stream(seed, "emergence", 0)) == best


def test_stability_without_two_samples_makes_one_cluster() -> None:
    predictions = planted([0, 0, 1, 1], 0.1, samples=1)
    assert clusters("stability", predictions) == [0, 0, 0, 0]


def test_parts_are_distances_of_the_whole_whatever_their_unit() -> None:
    # l2_raw grows with the root of the samples: thresholds of the whole fit parts in the same unit only.
    predictions = planted([0, 0, 0, 1, 1, 1, 2, 2, 2], 1.0, samples=64)
    mean, raw = (
        by_stability(predictions, pairwise(predictions, unit), unit, numpy_stream(0, "emergence", 0))
        for unit in ("l2", "l2_raw")
    )
    assert raw == pytest.approx(8 * mean)


# What always holds


@pytest.mark.parametrize(
    ("rule", "distance"),
    [*product(("silhouette", "gap"), DISTANCES), *product(["stability"], ("l2", "l2_raw", "js"))],
)
@pytest.mark.parametrize("groups", [2, 5])
def test_planted_blocks_are_found(rule: Emergence, groups: int, distance: Distance) -> None:
    truth = [client % groups for client in range(15)]
    assert clusters(rule, planted(truth, 0.5), distance) == truth


def test_a_tenth_of_the_pairs_fits_five_couples() -> None:
    truth = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]  # 5 of 45 pairs
    assert clusters("quantile", planted(truth, 0.5)) == truth


@pytest.mark.parametrize("rule", ["silhouette", "gap", "stability"])
def test_groups_of_equal_clients_are_found(rule: Emergence) -> None:
    truth = [0, 0, 0, 1, 1, 2, 2, 2]
    assert clusters(rule, planted(truth, 0.0)) == truth


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("n", [1, 2, 5])
def test_equal_clients_are_one_cluster(rule: Emergence, n: int) -> None:
    assert clusters(rule, planted([0] * n, 0.0)) == [0] * n


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("predictions", [planted([0], 0.0), planted([0, 1], 0.0), torch.eye(6).double()[:, None, :]])
def test_clients_that_nothing_tells_apart_are_one_cluster(rule: Emergence, predictions: Tensor) -> None:
    # One client, two clients, six that are all equally far from one another.
    assert clusters(rule, predictions) == [0] * len(predictions)


@pytest.mark.parametrize("n", [5, 10, 25])
def test_silhouette_sees_no_groups_in_noise(n: int) -> None:
    assert clusters("silhouette", planted([0] * n, 1.0)) == [0] * n
    assert by_silhouette(pairwise(planted([0] * n, 1.0), "l2"), floor=-1.0) > 0


@pytest.mark.parametrize("rule", RULES)
def test_the_threshold_is_that_of_renumbered_clients(rule: Emergence) -> None:
    predictions = planted([0, 0, 0, 1, 1, 1, 2, 2], 2.0)
    order = np.random.default_rng(0).permutation(8)
    first, second = (
        threshold(rule, said, pairwise(said, "l2"), "l2", numpy_stream(0, "emergence", 0))
        for said in (predictions, predictions[order])
    )
    assert first == pytest.approx(second)


def test_stability_draws_from_its_stream_alone() -> None:
    predictions = planted([0, 0, 0, 1, 1, 1, 2, 2], 4.0, samples=40)
    found = partial(by_stability, predictions, pairwise(predictions, "l2"), "l2")
    drawn = {seed: found(numpy_stream(seed, "emergence", 0)) for seed in range(5)}
    np.random.seed(1)  # noqa: NPY002
    assert all(found(numpy_stream(seed, "emergence", 0)) == value for seed, value in drawn.items())
    assert len(set(drawn.values())) > 1
