"""COMET against softmax regression in NumPy, its null settings, and its clusterings."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_bench.errors import ConfigError
from fl_bench.federation.models.build import NetBytes
from fl_bench.methods.base import Facts
from fl_bench.methods.clustering import kmeans
from fl_bench.methods.comet import Comet, CometConfig, kmeans_per_sample
from fl_bench.methods.contract import RENUMBERED, TRAINING, deal, finish, made_up_data, make_run, renumber
from fl_bench.streams import numpy_stream

SEQUENTIAL = {"mode": "sequential", "distill_lr": 0.2, "distill_epochs": 3}


def best_clusters(p: np.ndarray, clusters: int, weights: np.ndarray) -> np.ndarray:
    """Centroids of the clustering with the least inertia, every clustering tried; ids by smallest client."""
    found = []
    for labels in product(range(clusters), repeat=len(p)):
        if sorted(set(labels)) != list(range(clusters)) or list(dict.fromkeys(labels)) != list(range(clusters)):
            continue
        centroids = np.stack(
            [np.average(p[np.equal(labels, k)], 0, weights[np.equal(labels, k)]) for k in range(clusters)]
        )
        found.append(
            (
                sum(w * ((row - centroids[k]) ** 2).sum() for w, row, k in zip(weights, p, labels, strict=True)),
                centroids,
            )
        )
    return min(found, key=lambda pair: pair[0])[1]


def lloyd(p: np.ndarray, centroids: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Lloyd's iteration from centroids; an empty cluster keeps its own."""
    while True:
        labels = np.array([[((row - q) ** 2).sum() for q in centroids] for row in p]).argmin(axis=1)
        moved = np.stack(
            [
                np.average(p[labels == k], 0, weights[labels == k]) if (labels == k).any() else q
                for k, q in enumerate(centroids)
            ]
        )
        if np.allclose(moved, centroids, rtol=0, atol=1e-15):
            return moved
        centroids = moved


def slope(p: np.ndarray, q: np.ndarray, loss: str) -> np.ndarray:
    """dL/dz of the transfer loss over 3 samples: (p - q) / 3 for KL; for |p - q|^2 through the softmax."""
    if loss == "kl":
        return (p - q) / 3
    by_p = 2 * (p - q) / 3
    return p * (by_p - (p * by_p).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("mode", ["joint", "sequential"])
@pytest.mark.parametrize("loss", ["l2", "kl"])
def test_four_rounds_against_numpy(world, weights_of, assert_equal, loss: str, mode: str) -> None:
    x, y = world.private[2]
    world.private[2] = (
        np.repeat(x[:1], 6, axis=0),
        np.repeat(y[:1], 6),
    )  # six equal samples, two batches: counts twice
    world.rounds, sizes = 4, np.array([3.0, 3.0, 6.0])
    run = world.run("comet", clusters=2, transfer=1.7, loss=loss, mode=mode, distill_lr=0.2, distill_epochs=3)
    centroids = None
    for index in range(world.rounds):
        for model, (xs, ys), steps in zip(
            world.start, [*world.private[:2], (x[[0] * 3], y[[0] * 3])], [2, 2, 4], strict=True
        ):
            if centroids is None:
                model.train(xs, ys, world.lr, steps=steps)
                continue
            p = model.probabilities(world.public)
            q = min(centroids, key=lambda centroid: ((p - centroid) ** 2).sum())
            if mode == "sequential":
                for _ in range(3):
                    model.descend(world.public, 1.7 * slope(model.probabilities(world.public), q, loss), 0.2)
                model.train(xs, ys, world.lr, steps=steps)
                continue
            for _ in range(steps):
                both = np.concatenate([xs, world.public])
                by_private = (model.probabilities(xs) - np.eye(3)[ys]) / 3
                by_public = 1.7 * slope(model.probabilities(world.public), q, loss)
                model.descend(both, np.concatenate([by_private, by_public]), world.lr)
        p = np.stack([model.probabilities(world.public) for model in world.start])
        centroids = best_clusters(p, 2, sizes) if index == 0 else lloyd(p, centroids, sizes)
    assert_equal(weights_of(run), world.start)
    np.testing.assert_allclose(run.method.centroids.numpy(), centroids, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", ["joint", "sequential"])
@pytest.mark.parametrize("loss", ["l2", "kl"])
def test_without_transfer_it_is_local_only_bit_for_bit(world, weights_of, mode: str, loss: str) -> None:
    runs = world.run("comet", transfer=0.0, clusters=2, mode=mode, loss=loss), world.run("local")
    for found, alone in zip(*map(weights_of, runs), strict=True):
        assert (found.w == alone.w).all()
        assert (found.b == alone.b).all()


@pytest.mark.parametrize("participation", [1.0, 0.67])
@pytest.mark.parametrize(("level", "loss"), [("matrix", "kl"), ("sample", "kl"), ("matrix", "l2")])
def test_one_cluster_is_fedmd_on_probabilities(
    world, weights_of, assert_equal, level: str, loss: str, participation: float
) -> None:
    # Both distil what they received, train, and predict. FedMD's squares are a mean over the 3 classes, ours a sum.
    # Not bit for bit: FedMD divides the sum of the clients, a centroid weighs each with 1 / m.
    world.options = {"participation": participation}
    fedmd = world.run(
        "fedmd", score="probabilities", loss="kl" if loss == "kl" else "mse", digest_lr=0.2, digest_epochs=3
    )
    options = {"cluster_level": level, "loss": loss, "transfer": 1.0 if loss == "kl" else 1 / 3}
    comet = world.run("comet", clusters=1, member_weights="uniform", **options, **SEQUENTIAL)
    assert_equal(weights_of(comet), weights_of(fedmd))


@pytest.mark.parametrize("level", ["matrix", "sample"])
def test_a_cluster_for_each_client_pulls_nobody(world, weights_of, assert_equal, level: str) -> None:
    # Everyone's centroid is what it predicted last, and predicts still: the transfer has no gradient (to 1e-17).
    alone = weights_of(world.run("local"))
    for asked in (3, 7):  # no more clusters than clients
        run = world.run("comet", clusters=asked, cluster_level=level, **SEQUENTIAL)
        assert_equal(weights_of(run), alone)
        assert len(run.method.centroids) == 3


@pytest.mark.parametrize("level", ["matrix", "sample"])
def test_the_server_chooses_what_the_client_would(world, weights_of, level: str) -> None:
    by_client = world.build("comet", clusters=2, cluster_level=level)
    by_server = world.build("comet", clusters=2, cluster_level=level, choice="server")
    # 3 samples of 3 classes in float64: 72 bytes a matrix, up 8 of a size; nothing is received in round 0.
    moved = [
        [(row.values["bytes_up"], row.values["bytes_down"]) for row in run.rounds()] for run in (by_client, by_server)
    ]
    assert moved == [[(240, 0), (240, 432), (240, 432)], [(240, 0), (240, 216), (240, 216)]]
    for one, other in zip(weights_of(by_client), weights_of(by_server), strict=True):
        assert (one.w == other.w).all()
        assert (one.b == other.b).all()


def test_the_plan_counts_the_centroids_to_choose_from() -> None:
    # 10 samples of 4 classes: 160 bytes a matrix, and 4 of the size; of 5 centroids there are no more than clients.
    facts = Facts(public=10, classes=4, net=NetBytes(0, 0, 0, 0), clients=8)
    plan = Comet().plan(facts)
    assert (plan.up_bytes, plan.down_bytes) == (164, 800)
    assert [phase.passes for phase in plan.work] == [1, 2]  # from the second round on, a public batch with each
    assert Comet().plan(replace(facts, clients=3)).down_bytes == 480
    assert Comet(CometConfig(choice="server")).plan(facts).down_bytes == 160
    assert [phase.epochs for phase in Comet(CometConfig(mode="sequential", distill_epochs=3)).plan(facts).work] == [
        1,
        3,
    ]


def test_a_client_chooses_by_what_it_predicts_now(world) -> None:
    # With one of three clients a round the only centroid is the last participant's prediction, then the next one's.
    world.rounds, world.options = 6, {"participation": 0.34}
    run = world.build("comet", clusters=2)
    for row in run.rounds():
        assert row.values["bytes_down"] == (0 if row.values["round"] == 0 else 72)
    assert run.method.centroids.shape == (1, 3, 3)


def test_members_count_by_size_or_the_same(world) -> None:
    x, y = world.private[0]
    world.private[0] = (np.tile(x, (4, 1)), np.tile(y, 4))
    world.rounds = 1
    for weights, counts in (("size", [12, 3, 3]), ("uniform", [1, 1, 1])):
        run = world.run("comet", clusters=1, member_weights=weights)
        tree = run.client_weights()["linear"]
        z = torch.from_numpy(world.public) @ tree["head.weight"].transpose(1, 2) + tree["head.bias"][:, None]
        expected = np.average(z.softmax(dim=2).numpy(), axis=0, weights=counts)
        np.testing.assert_allclose(run.method.centroids[0].numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", ["joint", "sequential"])
def test_planted_groups_are_recovered(world, mode: str) -> None:
    # Clients 0 and 2 learn one labelling of their samples, 1 and 3 another.
    x = world.private[0][0]
    world.private = [(x, np.array(labels)) for labels in ([0, 1, 2], [1, 2, 0], [0, 1, 2], [1, 2, 0])]
    world.start = [world.start[client % 3].copy() for client in range(4)]
    world.epochs = 40
    run = world.build("comet", clusters=2, mode=mode)
    last = list(run.rounds())[-1].values
    assert run.method.clusters().tolist() == [0, 1, 0, 1]
    assert last["cluster_ari"] == 1
    assert world.run("comet", clusters=2, mode=mode, cluster_level="sample").method.clusters() is None


@pytest.mark.parametrize("level", ["matrix", "sample"])
def test_draws_and_ids_go_by_identity(level: str) -> None:
    # The same six clients under other numbers: the same centroids under the same ids. A sample has one start of its
    # k-means only, which falls on other clients where the draws go by number.
    dataset, training = made_up_data(), replace(TRAINING, precision="float64")
    dealt, config = deal(dataset), CometConfig(clusters=3, cluster_level=level)
    usual = make_run("comet", dataset, dealt, training, config=config)
    other = make_run("comet", dataset, renumber(dealt, RENUMBERED), training, config=config, identities=RENUMBERED)
    for run in (usual, other):
        finish(run)
    torch.testing.assert_close(usual.method.centroids, other.method.centroids, rtol=0, atol=1e-9)
    if level == "matrix":
        assert usual.method.clusters()[list(RENUMBERED)].tolist() == other.method.clusters().tolist()


def test_the_nearest_centroid_as_a_whole_and_by_sample() -> None:
    # Client 0 says (1, 0) and (0, 1). To centroid 0, (1, 0) and (1, 0), it is at 0 + 2; to centroid 1, (.5, .5) and
    # (.5, .5), at .5 + .5. As a whole it is nearest to the second; on the first sample alone to the first.
    p = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    q = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[0.5, 0.5], [0.5, 0.5]]])
    assert Comet().nearest(p, q).tolist() == [[[0.5, 0.5], [0.5, 0.5]]]
    assert Comet(CometConfig(cluster_level="sample")).nearest(p, q).tolist() == [[[1.0, 0.0], [0.5, 0.5]]]


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(seed).dirichlet(np.ones(3), shape))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 9), clusters=st.integers(1, 4))
def test_clustering_samples_together_is_clustering_each_alone(seed: int, n: int, clusters: int) -> None:
    predictions, start = draw(seed, n, 5), draw(seed + 1, clusters, 5)
    weights = 1 + torch.arange(n, dtype=torch.float64)
    found = kmeans_per_sample(predictions, clusters, weights, stream=numpy_stream(seed), start=start)
    for sample in range(5):
        one = slice(sample, sample + 1)
        alone = kmeans(predictions[:, one], clusters, weights=weights, start=start[:, one])
        assert torch.allclose(found[:, one], alone.centroids, rtol=0, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(3, 9))
def test_samples_are_clustered_to_a_fixed_point_from_different_clients(seed: int, n: int) -> None:
    predictions, weights = draw(seed, n, 4), torch.ones(n, dtype=torch.float64)
    found = kmeans_per_sample(predictions, 3, weights, stream=numpy_stream(seed), start=None)
    labels = (predictions[:, None] - found[None]).square().sum(dim=3).argmin(dim=1)
    for sample in range(4):
        for k in range(3):  # different clients as a start, so no cluster is empty
            mean = predictions[labels[:, sample] == k, sample].mean(dim=0)
            assert torch.allclose(found[k, sample], mean, rtol=0, atol=1e-12)


def test_starts_of_samples_are_far_from_each_other() -> None:
    # A hundred equal clients and one that differs, with K = 2: a start of two equal clients, as uniform draws give 98
    # of 100 samples, would leave all in one cluster.
    predictions = torch.zeros(101, 200, 2, dtype=torch.float64)
    predictions[:100, :, 0], predictions[100, :, 1] = 1.0, 1.0
    found = kmeans_per_sample(predictions, 2, torch.ones(101, dtype=torch.float64), stream=numpy_stream(0), start=None)
    assert (found.sum(dim=0) == 1.0).all()  # (1, 0) and (0, 1) in some order
    # A client that counts next to nothing is no second centre, and as a first one it is outweighed by who joins it.
    predictions = torch.eye(3, dtype=torch.float64)[:, None].repeat(1, 200, 1)
    weights = torch.tensor([1.0, 1e-9, 1.0], dtype=torch.float64)
    found = kmeans_per_sample(predictions, 2, weights, stream=numpy_stream(0), start=None)
    assert (found[:, :, 1] < 1e-8).all()


def test_equal_clients_leave_clusters_empty() -> None:
    predictions = draw(0, 1, 6).repeat(4, 1, 1)
    found = kmeans_per_sample(predictions, 3, torch.ones(4, dtype=torch.float64), stream=numpy_stream(0), start=None)
    assert torch.allclose(found, predictions[:3])


@pytest.mark.parametrize("wrong", [{"clusters": 0}, {"transfer": -1.0}, {"distill_epochs": -1}, {"distill_lr": 0.0}])
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"comet.{next(iter(wrong))}"):
        CometConfig(**wrong)
