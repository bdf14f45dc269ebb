"""The evaluator's numbers by hand: accuracy, losses, summaries over clients, oracle views, cluster quality."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fl_bench.federation.deployed import Deployed
from fl_bench.federation.evaluation import ClientScores, cluster_quality, evaluate, summarise
from fl_bench.federation.forward import CHUNK

LOG2 = math.log(2)


class Table(nn.Module):
    """Logits of sample x are `values` times the one-hot of x's only feature, so tests choose them freely."""

    def __init__(self, values: torch.Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(values)
        self.dropout = nn.Dropout(0.9)  # of no effect, unless a model is scored in training mode

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.dropout(self.values[x[:, 0].long()])
        return logits


@pytest.fixture(scope="module")
def scored(make_data):
    """Scores clients whose models give the logits of `tables`; sample j of a client has feature j, so logits row j."""

    def score(tables, labels, index, **options):
        clients, samples, classes = len(labels), len(labels[0]), len(tables[0][0])
        # Rows as `deal` lays them out: 1 training row per client, 1 public row, the test rows, nothing else.
        features = [0.0] * (clients + 1) + [float(j) for _ in range(clients) for j in range(samples)]
        data = make_data(
            (1,) * clients, public=1, test=samples, validation=0, global_test=0, classes=classes, shape=(1,),
            inputs=torch.tensor(features)[:, None],
        )  # fmt: skip
        truth = data.sealed_labels.open_for_evaluation()
        truth[clients + 1 :] = torch.tensor(labels).flatten()
        weights = {"values": torch.tensor(tables, dtype=torch.float64)}
        module = Table(torch.zeros(samples, classes, dtype=torch.float64))
        return evaluate(Deployed(module, weights, index), data, options.get("rows", data.test.split()))

    return score


# Two samples of two classes: even odds, and odds of 3 to 1 for class 1.
TABLE = [[0.0, 0.0], [0.0, math.log(3)]]


def test_one_client_by_hand(scored) -> None:
    # Sample 0, p = (1/2, 1/2), label 1: argmax is class 0, wrong. CE = ln 2, Brier = 1/4 + 1/4.
    # Sample 1, p = (1/4, 3/4), label 1: right. CE = ln 4/3, Brier = 1/16 + 1/16.
    scores = scored([TABLE], [[1, 1]], (0,))
    assert scores.accuracy.tolist() == [50.0]
    assert scores.loss.tolist() == pytest.approx([(LOG2 + math.log(4 / 3)) / 2])
    assert scores.brier.tolist() == pytest.approx([(1 / 2 + 1 / 8) / 2])
    assert scores.top5.tolist() == [100.0]  # there are but two classes


def test_top_five_of_seven_classes(scored) -> None:
    # Logits fall from class 0 to class 6: labels 0 and 4 are among the first five, 5 and 6 are not.
    logits = [[float(-label) for label in range(7)]] * 4
    scores = scored([logits], [[0, 4, 5, 6]], (0,))
    assert scores.top5.tolist() == [50.0]
    assert scores.accuracy.tolist() == [25.0]


def test_each_client_is_scored_with_the_model_that_serves_it(scored) -> None:
    # Model 0 says class 0 to both samples, model 1 says class 1. Clients 0 and 2 are served by model 1.
    says = [[[9.0, 0.0], [9.0, 0.0]], [[0.0, 9.0], [0.0, 9.0]]]
    scores = scored(says, [[1, 1], [0, 0], [0, 0]], (1, 0, 1))
    assert scores.accuracy.tolist() == [100.0, 100.0, 0.0]
    one_for_all = scored(says[:1], [[1, 1], [0, 1], [0, 0]], (0, 0, 0))
    assert one_for_all.accuracy.tolist() == [0.0, 50.0, 100.0]


def test_an_oracle_serves_each_client_the_best_model(scored) -> None:
    # Client 0 is best served by model 1, client 1 by model 0; ties go to the first, with that model's own loss.
    says = [[[9.0, 0.0], [9.0, 0.0]], [[0.0, 9.0], [0.0, 9.0]], [[0.0, 1.0], [0.0, 1.0]]]
    scores = scored(says, [[1, 1], [0, 0], [0, 1]], None)
    assert scores.accuracy.tolist() == [100.0, 100.0, 50.0]
    confident = math.log1p(math.exp(-9))
    assert scores.loss.tolist() == pytest.approx([confident, confident, (confident + 9 + confident) / 2])


def test_a_client_without_samples_has_no_score(scored) -> None:
    empty = torch.tensor([], dtype=torch.int64)
    for index in ((0, 0), None):
        scores = scored([TABLE], [[1, 1], [1, 1]], index, rows=[torch.tensor([3, 4]), empty])
        assert scores.accuracy[0] == 50.0
        assert np.isnan([column[1] for column in (scores.accuracy, scores.loss, scores.brier, scores.top5)]).all()


def test_large_sets_are_scored_in_pieces(scored) -> None:
    # Clients of 1 and CHUNK + 2 rows, cut across client borders: sample 0 is wrong, sample 1 is right.
    rows = [torch.tensor([2]), torch.tensor([2] * CHUNK + [3, 3])]
    scores = scored([TABLE], [[1, 1]], (0, 0), rows=rows)
    assert scores.accuracy.tolist() == pytest.approx([0.0, 200 / (CHUNK + 2)])


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_scores_stay_in_their_ranges(scored, seed: int) -> None:
    stream = np.random.default_rng(seed)
    tables = (10 * stream.normal(size=(2, 4, 6))).tolist()
    labels = stream.integers(0, 6, size=(2, 4)).tolist()
    own, best = scored(tables, labels, (0, 1)), scored(tables, labels, None)
    assert ((own.accuracy >= 0) & (own.accuracy <= own.top5) & (own.top5 <= 100)).all()
    assert ((own.brier >= 0) & (own.brier <= 2) & (own.loss >= 0)).all()
    assert (best.accuracy >= own.accuracy).all()


def test_cohorts_are_joined_in_client_order() -> None:
    def of(*values: float) -> ClientScores:
        return ClientScores(*(np.array(values) + shift for shift in (0, 100, 200, 300)))

    joined = ClientScores.join([([2, 0], of(2.0, 0.0)), ([3], of(3.0))], 4)
    assert joined.accuracy.tolist()[0] == 0.0
    assert joined.loss.tolist()[2:] == [102.0, 103.0]
    assert joined.top5.tolist()[3] == 303.0
    assert np.isnan(joined.brier[1])  # nobody scored client 1


def test_summary_by_hand() -> None:
    # Twelve clients: ten at 50 %, one at 10 %, one at 20 %. The worst decile is ceil(1.2) = 2 clients.
    # mean = 530/12; deviations from it: ten of 5.8333, one of -34.1667, one of -24.1667;
    # their squares sum to 340.28 + 1167.36 + 584.03 = 2091.67, over 12 is 174.31 (population).
    # Weighted with 1 test sample each, but 8 for the client at 10 %: (500 + 80 + 20) / (10 + 8 + 1).
    accuracy = np.array([50.0] * 5 + [10.0] + [50.0] * 5 + [20.0])
    sizes = np.array([1] * 5 + [8] + [1] * 6)
    scores = ClientScores(accuracy, np.arange(12.0), np.full(12, 0.5), np.full(12, 80.0))
    summary = summarise(scores, sizes)
    assert summary == pytest.approx(
        {
            "acc_mean": 530 / 12,
            "acc_weighted": 600 / 19,
            "acc_std": math.sqrt(2091.6667 / 12),
            "acc_worst_decile": 15.0,
            "acc_min": 10.0,
            "loss_mean": 5.5,
            "brier_mean": 0.5,
            "top5_mean": 80.0,
        },
        abs=1e-4,
    )


def test_clients_without_test_samples_are_left_out_of_the_summary() -> None:
    # Clients at 10, nobody, and 40 %, with 1, 0 and 2 test samples: (10 + 40) / 2 and (10 + 2 * 40) / 3.
    column = np.array([10.0, np.nan, 40.0])
    summary = summarise(ClientScores(column, column, column, column), np.array([1, 0, 2]))
    assert summary == {
        "acc_mean": 25.0,
        "acc_weighted": 30.0,
        "acc_std": 15.0,
        "acc_worst_decile": 10.0,
        "acc_min": 10.0,
        "loss_mean": 25.0,
        "brier_mean": 25.0,
        "top5_mean": 25.0,
    }


@pytest.mark.parametrize(("clients", "worst"), [(1, 0.0), (10, 0.0), (11, 0.5), (20, 0.5), (21, 1.0)])
def test_the_worst_decile_is_rounded_up(clients: int, worst: float) -> None:
    # Accuracies 0, 1, 2, ...: the mean of the ceil(n / 10) smallest.
    ramp = np.arange(float(clients))
    summary = summarise(ClientScores(ramp, ramp, ramp, ramp), np.ones(clients))
    assert summary["acc_worst_decile"] == worst


def test_cluster_quality_by_hand() -> None:
    # Clusters {0, 1, 2} of groups a, a, b and {3, 4, 5} of b, b, b: majorities 2 + 3 of 6 clients.
    # Pairs together in both: 1 of (0,1) + 3 of (3,4,5) = 4; in clusters 3 + 3 = 6; in groups 1 + 6 = 7; of 15 pairs
    # 6*7/15 = 2.8 are expected by chance: ARI = (4 - 2.8) / ((6 + 7)/2 - 2.8) = 1.2 / 3.7.
    quality = cluster_quality(np.array([7, 7, 7, 2, 2, 2]), np.array([0, 0, 1, 1, 1, 1]))
    # A client without a cluster is left out.
    assert cluster_quality(np.array([7, 7, 7, -1, 2, 2, 2]), np.array([0, 0, 1, 0, 1, 1, 1])) == quality
    assert quality == {
        "cluster_clients": 6,
        "clusters": 2,
        "cluster_smallest": 3,
        "cluster_largest": 3,
        "cluster_ari": pytest.approx(1.2 / 3.7),
        "cluster_purity": pytest.approx(5 / 6),
    }


def test_nobody_has_a_cluster() -> None:
    quality = cluster_quality(np.array([-1, -1]), np.array([0, 1]))
    assert (quality["cluster_clients"], quality["clusters"], quality["cluster_ari"]) == (0, 0, None)


def test_cluster_sizes_without_groups() -> None:
    quality = cluster_quality(np.array([0, 3, 3, 3]), None)
    assert quality == {
        "cluster_clients": 4,
        "clusters": 2,
        "cluster_smallest": 1,
        "cluster_largest": 3,
        "cluster_ari": None,
        "cluster_purity": None,
    }


@settings(deadline=None)
@given(
    groups=st.lists(st.integers(0, 3), min_size=2, max_size=12),
    order=st.permutations(range(4)),
    seed=st.integers(0, 99),
)
def test_the_names_of_clusters_do_not_matter(groups: list[int], order: list[int], seed: int) -> None:
    truth = np.array(groups)
    perfect = cluster_quality(np.array(order)[truth], truth)
    assert perfect["cluster_ari"] == 1.0
    assert perfect["cluster_purity"] == 1.0
    random = cluster_quality(np.random.default_rng(seed).integers(0, 3, len(groups)), truth)
    assert random["cluster_ari"] is not None
    assert random["cluster_ari"] <= 1.0
