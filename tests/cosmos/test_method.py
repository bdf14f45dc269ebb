"""COSMOS as a whole: its null settings, its server against NumPy, its ablations, its seals."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from fl_bench.cosmos.clustering import Matching
from fl_bench.cosmos.settings import CosmosConfig
from fl_bench.errors import ConfigError
from fl_bench.federation.batches import Batch
from fl_bench.federation.rounds import Round
from fl_bench.methods.contract import TRAINING, client_facts, deal, finish, made_up_data, make_run
from fl_bench.methods.registry import METHODS

if TYPE_CHECKING:
    from pathlib import Path

    from fl_bench.federation.channel import Parcel
    from fl_bench.federation.run import Run

PLAIN = {"consistency": 0.0, "clip": None, "distill_epochs": 2, "distill_lr": 0.2, "server_epochs": 2, "server_lr": 0.4}
"""COSMOS without what NumPy would have to repeat: noise and clipping."""


def weights(run: Run) -> dict[str, torch.Tensor]:
    return run.client_weights()["linear"]


def same(first: Run, second: Run, tolerance: float = 0.0) -> bool:
    return all(bool(((weights(second)[key] - value).abs() <= tolerance).all()) for key, value in weights(first).items())


def servers(run: Run) -> dict[str, np.ndarray]:
    return {key: value.numpy().copy() for key, value in run.method.servers.cohort.weights.items()}


class TestNullSettings:
    def test_without_server_model_and_with_one_cluster_it_is_fedmd(self, world) -> None:
        cosmos = world.run("cosmos", clustering="single", feedback="no_model", **PLAIN)
        fedmd = world.run("fedmd", score="probabilities", loss="kl", digest_epochs=2, digest_lr=0.2)
        assert same(cosmos, fedmd, 1e-12)
        assert not same(cosmos, world.run("local"), 1e-3)

    def test_without_distillation_it_is_local_only_bit_for_bit(self, world) -> None:
        assert same(world.run("cosmos", **(PLAIN | {"distill_epochs": 0})), world.run("local"))

    def test_consistency_without_gradient_is_no_consistency(self, world) -> None:
        without = world.run("cosmos", **PLAIN)
        assert same(world.run("cosmos", **(PLAIN | {"consistency": 5.0, "consistency_grad": "none"})), without)
        assert not same(world.run("cosmos", **(PLAIN | {"consistency": 5.0})), without)

    def test_most_confident_of_one_model_is_the_own_cluster(self, world) -> None:
        own = world.run("cosmos", clustering="single", **PLAIN)
        assert same(world.run("cosmos", clustering="single", feedback="max_conf_global", **PLAIN), own)

    def test_mixture_of_one_model_is_the_own_cluster(self, world) -> None:
        own = world.run("cosmos", clustering="single", **PLAIN)
        assert same(world.run("cosmos", clustering="single", feedback="soft_mix", **PLAIN), own, 1e-12)

    def test_server_models_learn_at_the_rate_of_the_clients(self, world) -> None:
        unset = world.run("cosmos", **(PLAIN | {"server_lr": None}))
        assert same(unset, world.run("cosmos", **(PLAIN | {"server_lr": world.lr})))
        assert not same(unset, world.run("cosmos", **PLAIN))


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("member_weights", ["uniform", "size"])
def test_two_cluster_models_against_numpy(world, assert_equal, weights_of, temperature, member_weights) -> None:
    # Oracle clusters {0, 2} and {1}. Round t: clients distil (t > 0), train, predict; a cluster's target is the mean of
    # its members; the server model takes KL steps towards it; its predictions go back. Targets are sharpened by
    # p^(1/T) / sum on both sides. With 2, 3 and 3 samples, `size` weighs clients 0 and 2 by 2/5 and 3/5.
    x, y = world.private[0]
    world.private[0] = (x[:2], y[:2])
    world.epochs = 3  # 6 samples of client 0 in 2 batches of 3: every step sees a batch of its own
    settings = PLAIN | {"temperature": temperature, "member_weights": member_weights, "clustering": "oracle"}
    first = world.run("cosmos", **(settings | {"server_epochs": 0}))
    models = [type(world.start[0])(w, b) for w, b in zip(*servers(first).values(), strict=True)]
    run = world.run("cosmos", **settings)
    share = {"uniform": [0.5, 1.0, 0.5], "size": [0.4, 1.0, 0.6]}[member_weights]
    batches = small_client_batches(run)

    def sharpened(p: np.ndarray) -> np.ndarray:
        powered = p ** (1 / temperature)
        return powered / powered.sum(axis=1, keepdims=True)

    feedback: list[np.ndarray] | None = None
    for t in range(world.rounds):
        predictions = []
        for client, (model, (xs, ys)) in enumerate(zip(world.start, world.private, strict=True)):
            if feedback is not None:
                model.distil(world.public, sharpened(feedback[client % 2]), 0.2, steps=2)
            for rows in batches[t] if client == 0 else [range(3)] * 3:
                model.train(xs[list(rows)], ys[list(rows)], world.lr)
            predictions.append(model.probabilities(world.public))
        targets = [share[0] * predictions[0] + share[2] * predictions[2], predictions[1]]
        for model, target in zip(models, targets, strict=True):
            model.distil(world.public, sharpened(target), 0.4, steps=2)
        feedback = [model.probabilities(world.public) for model in models]
    assert_equal(weights_of(run), world.start)
    assert_equal([type(world.start[0])(w, b) for w, b in zip(*servers(run).values(), strict=True)], models)
    assert run.facts()["badges"] == ["oracle: true groups (cosmos, clustering=oracle)"]


def small_client_batches(run: Run) -> list[list[list[int]]]:
    """The batches of client 0, as `batches.positions` draws them from its stream."""
    from fl_bench.federation.batches import positions
    from fl_bench.streams import numpy_stream

    return [positions(2, 2, 3, numpy_stream(0, "local", 0, t)).tolist() for t in range(run.training.rounds)]


def test_pseudo_weights_scale_each_public_sample(world, assert_equal, weights_of) -> None:
    # w_i(u) = sum_c n_ic q_u(c), divided by its mean over u; weighted KL: dL/dz = w (p - q) / n.
    world.rounds = 2
    run = world.run("cosmos", clustering="single", feedback="no_model", weighting="pseudo", **PLAIN)
    for model, (x, y) in zip(world.start, world.private, strict=True):
        model.train(x, y, world.lr, steps=world.epochs)
    told = np.mean([model.probabilities(world.public) for model in world.start], axis=0)
    for model, (x, y) in zip(world.start, world.private, strict=True):
        w = told @ np.bincount(y, minlength=3)
        w = w / w.mean()
        for _ in range(2):
            model.descend(world.public, w[:, None] * (model.probabilities(world.public) - told) / 3, 0.2)
        model.train(x, y, world.lr, steps=world.epochs)
    assert_equal(weights_of(run), world.start)
    assert run.facts()["badges"] == []


@pytest.mark.parametrize("mode", ["oracle", "oracle_raw"])
def test_oracle_weights_carry_the_badge(world, mode: str) -> None:
    run = world.run("cosmos", weighting=mode, **PLAIN)
    assert run.facts()["badges"] == [f"oracle: public labels (cosmos, weighting={mode})"]
    assert not same(run, world.run("cosmos", **PLAIN))


@pytest.mark.parametrize(("image", "noisy"), [(True, [1.0, -1.0]), (False, [1.05, -1.05])])
def test_noisy_pixels_stay_pixels(image: bool, noisy: list[float]) -> None:
    # .95 and -.95 with a tenth of the noise 1 and -1 are 1.05 and -1.05, beyond what a pixel can be.
    dataset = features = made_up_data()
    if image:
        about = replace(features.about, shape=(1, 2, 3), modality="image")
        dataset = replace(features, inputs=features.inputs.view(-1, 1, 2, 3), about=about)
    run = make_run("cosmos", dataset, deal(features))
    objective = run.method.objective(1.0)
    batch = Batch(torch.tensor([[0.95, -0.95]]), noise=torch.tensor([[1.0, -1.0]]))
    assert objective.noisy(batch)[0].tolist() == pytest.approx(noisy)


@pytest.mark.parametrize(("grad", "weight"), [("both", 5.0), ("noisy_only", 5.0), ("none", 0.0)])
def test_the_consistency_loss_is_as_set(world, grad: str, weight: float) -> None:
    run = world.build("cosmos", consistency=5.0, consistency_grad=grad, noise="research")
    objective = run.method.objective(run.method.config.client_weight)
    assert (objective.weight, objective.noise) == (weight, "research")
    assert objective.grad == ("both" if grad == "none" else grad)


class TestViews:
    def test_client_assigned_and_oracle_accuracy_are_apart(self, world) -> None:
        run = world.run("cosmos", clustering="singleton", **PLAIN)
        facts = run.facts()
        assert facts["deployed"] == "client"
        assert facts["views"] == ["after_distill", "client", "server_assigned", "server_oracle"]
        assert facts["view_badges"] == {"server_oracle": ["oracle: test labels"]}
        assert facts["badges"] == []

    def test_oracle_is_never_below_assigned(self, world) -> None:
        for row in world.run("cosmos", clustering="singleton", **PLAIN).rounds():
            assert row.values["server_oracle.acc_mean"] >= row.values["server_assigned.acc_mean"]

    def test_without_server_models_there_are_no_server_views(self, world) -> None:
        assert world.run("cosmos", feedback="no_model", **PLAIN).facts()["views"] == ["after_distill", "client"]

    @pytest.mark.parametrize("server", ["models", "heads"])
    def test_assigned_view_serves_what_the_server_predicts(self, world, server: str) -> None:
        run = world.run("cosmos", clustering="singleton", server=server, **PLAIN)
        rnd = Round(2, 0, run.federation)
        view = run.method.views(run.client_cohort("linear", range(3), rnd), rnd)["server_assigned"]
        inputs = rnd.public.inputs()
        answers = run.method.servers.predict(inputs)
        for client in range(3):
            with torch.no_grad():
                found = view.logits(view.index[client], inputs).softmax(dim=1)
            torch.testing.assert_close(found, answers[run.method.assignment[client]], rtol=0, atol=1e-12)


class TestHeads:
    def test_joint_training_moves_every_head_and_the_run_resumes(self, world) -> None:
        run = world.run("cosmos", clustering="singleton", server="heads", **PLAIN)
        start = run.method.new_servers(3).cohort.weights
        moved = {key: bool((start[key] != value).any()) for key, value in run.method.servers.cohort.weights.items()}
        assert all(moved.values()), moved

    def test_sequential_training_differs_and_sweeps_repeat(self, world) -> None:
        joint, once, twice = (
            world.run("cosmos", clustering="singleton", server="heads", **PLAIN, **extra)
            for extra in ({}, {"head_schedule": "sequential"}, {"head_schedule": "sequential", "head_sweeps": 2})
        )
        assert not same(joint, once)
        assert not same(once, twice)
        steps = [[row.values["steps_server"] for row in run.rounds()] for run in (joint, once, twice)]
        # one shared net: 2 epochs of one batch; each of 3 clusters in turn; the same twice over
        assert steps == [[2] * 3, [6] * 3, [12] * 3]


class TestParticipation:
    def test_those_who_have_reported_are_clustered_and_the_others_are_sent_nothing(self, world) -> None:
        world.rounds, world.options = 8, {"participation": 0.4}  # one of three clients a round
        run = world.run("cosmos", clustering="singleton", **PLAIN)
        reported: set[int] = set()
        for t, row in enumerate(run.rounds()):
            (drawn,) = run.participants(t)
            assert (row.clients[drawn]["bytes_down"] > 0) == (drawn in reported)
            reported.add(drawn)
            assert row.values["clusters"] == row.values["cluster_clients"] == len(reported)
            assert {client["client"] for client in row.clients if client["cluster"] >= 0} == reported
        assert len(reported) == 3

    @pytest.mark.parametrize(
        ("reported", "clustered", "index", "recluster", "due"),
        [
            ([1, 0, 0], 0, 0, 0, True),  # for the first time
            ([1, 1, 0], 1, 1, 0, True),  # they have doubled
            ([1, 1, 1], 2, 2, 0, True),  # and now all have reported
            ([1, 1, 1], 3, 3, 0, False),
            ([1, 1, 1], 3, 4, 2, True),  # by the schedule
            ([1, 1, 1], 3, 5, 2, False),
        ],
    )
    def test_when_it_is_time_to_cluster(self, world, reported, clustered, index, recluster, due: bool) -> None:
        run = world.build("cosmos", recluster=recluster, **PLAIN)
        method = remembering(run, [[1.0, 0.0]] * 3, [0, 0, 0], [bool(seen) for seen in reported])
        method.clustered = clustered
        assert method.is_time_to_cluster(Round(index, 0, run.federation)) == due

    @pytest.mark.parametrize(("says", "joins"), [(0.7, 2), (0.3, 1)])
    def test_a_late_joiner_goes_to_the_nearest_mean(self, world, says: float, joins: int) -> None:
        # The first class has 1.0 in cluster 2 and 0.2 in cluster 1; 0.6 is in the middle.
        method = remembering(
            world.build("cosmos", **PLAIN), [[1.0, 0.0], [0.2, 0.8], [says, 1 - says]], [2, 1, 0], [True] * 3
        )
        method.admit(np.array([2]))
        assert method.assignment.tolist() == [2, 1, joins]

    def test_clusters_form_where_few_take_part(self) -> None:
        dataset, training = made_up_data(), replace(TRAINING, rounds=4, participation=0.2, local_epochs=1)
        config = CosmosConfig(clusters=2, consistency=0.0, distill_epochs=1, server_epochs=1)
        for seed in range(3):
            run = make_run("cosmos", dataset, deal(dataset, 16), training, config=config, seed=seed)
            rows = finish(run).rows
            assert [row["clusters"] for row in rows] == [2] * 4
            drawn = [set(run.participants(t)) for t in range(4)]
            assert [row["cluster_clients"] for row in rows] == [len(set().union(*drawn[: t + 1])) for t in range(4)]

    def test_absent_clients_count_by_their_last_predictions_or_not_at_all(self, world) -> None:
        world.rounds, world.options = 4, {"participation": 0.4}
        keep, drop = (
            world.run("cosmos", clustering="single", feedback="no_model", cache=cache, **PLAIN)
            for cache in ("keep", "drop")
        )
        assert not same(keep, drop)

    def test_with_everybody_present_the_cache_does_not_matter(self, world) -> None:
        keep, drop = (world.run("cosmos", clustering="single", cache=cache, **PLAIN) for cache in ("keep", "drop"))
        assert same(keep, drop)

    def test_a_cluster_without_fresh_predictions_is_not_trained(self, world) -> None:
        world.rounds, world.options = 8, {"participation": 0.4}
        run = world.run("cosmos", clustering="singleton", **PLAIN)
        # one participant: one model trained a round, 2 epochs of one batch
        assert [row.values["steps_server"] for row in run.rounds()] == [2] * 8


def remembering(run: Run, predictions: list[list[float]], assignment: list[int], reported: list[bool]) -> Any:
    """The run's method with these last predictions on one public sample of two classes, and these clusters."""
    run.method.predictions = torch.tensor(predictions, dtype=torch.float64)[:, None]
    run.method.assignment, run.method.reported = np.array(assignment), np.array(reported)
    return run.method


def one_round(world, **settings: Any) -> tuple[Run, Parcel]:
    """A run of one round with a cluster model for each client, and what the server sent."""
    world.rounds, sent = 1, []
    run = world.build("cosmos", clustering="singleton", **settings, **PLAIN)
    update = run.method.server_update
    run.method.server_update = lambda uploads, rnd: sent.append(update(uploads, rnd)) or sent[0]
    list(run.rounds())
    (parcel,) = sent[0].parcels
    return run, parcel


class TestFeedback:
    def test_a_mixture_goes_by_the_distance_to_the_members_mean(self, world) -> None:
        # Cluster 0 has the mean (.8, .2), cluster 1 nobody, cluster 2 the mean (0, 1). In units of sqrt 2 the clients
        # are .2, .8 and .2 from the first and 1, 0 and .6 from the other; with a width of .8 sqrt 2 / ln 9 the shares
        # of the two models are as 1 to 9^-1, 9^-1 to 1, and 1 to 9^-(1/2).
        run = world.build("cosmos", feedback="soft_mix", mix_width=0.8 * 2**0.5 / np.log(9), **PLAIN)
        method = remembering(run, [[1.0, 0.0], [0.0, 1.0], [0.6, 0.4]], [0, 2, 0], [True] * 3)
        mixed = method.mixed(torch.tensor([[[1.0, 0.0]], [[0.5, 0.5]], [[0.0, 1.0]]], dtype=torch.float64))
        assert mixed[:, 0].tolist() == [pytest.approx(row) for row in ([0.9, 0.1], [0.1, 0.9], [0.75, 0.25])]

    def test_every_client_is_sent_its_own_mixture(self, world) -> None:
        # A width far above all distances, which are below sqrt 2, makes every mixture the mean of the three models.
        run, parcel = one_round(world, feedback="soft_mix", mix_width=1e6)
        answers = run.method.servers.predict(torch.from_numpy(world.public)).numpy()
        assert parcel.address == {0: 0, 1: 1, 2: 2}
        for row in parcel.payload.values.numpy():
            assert row == pytest.approx(answers.mean(axis=0), abs=1e-5)
        assert np.abs(answers - answers.mean(axis=0)).max() > 0.01

    def test_the_most_confident_of_three_models_answers_all(self, world) -> None:
        run, parcel = one_round(world, feedback="max_conf_global")
        answers = run.method.servers.predict(torch.from_numpy(world.public)).numpy()
        assert parcel.address == {0: 0, 1: 0, 2: 0}
        for sample, row in enumerate(parcel.payload.values[0].tolist()):
            assert row == answers[answers[:, sample].max(axis=1).argmax(), sample].tolist()

    @pytest.mark.parametrize(
        ("cache", "reported", "expected"),
        [
            ("keep", [True, True, True], [[0.8, 0.2], [0.1, 0.9]]),  # the mean of clients 0 and 1; client 2
            ("drop", [True, True, True], [[1.0, 0.0], [0.1, 0.9]]),  # client 0 is here; of cluster 1 nobody is
            ("keep", [True, False, True], [[1.0, 0.0], [0.1, 0.9]]),  # client 1 has never said anything
        ],
    )
    def test_aggregates_of_those_who_have_reported(self, world, cache: str, reported, expected) -> None:
        run = world.build("cosmos", cache=cache, **PLAIN)
        method = remembering(run, [[1.0, 0.0], [0.6, 0.4], [0.1, 0.9]], [0, 0, 1], reported)
        targets = method.aggregates(np.array([True, False, False]))
        assert targets[:, 0].tolist() == [pytest.approx(row) for row in expected]

    @pytest.mark.parametrize(
        ("settings", "reported", "expected"),
        [
            ({"aggregation": "trimmed", "trim": 0.4}, [True] * 3, [0.6, 0.4]),  # int(.4 * 3) = 1 from each end
            ({"aggregation": "trimmed", "trim": 0.3}, [True] * 3, [1.6 / 3, 1.4 / 3]),  # int(.3 * 3) = 0: the mean
            ({"aggregation": "median"}, [True, True, False], [6 / 7, 1 / 7]),  # the lower of .9, .6 and of .1, .4
            ({"aggregation": "median", "midpoint": True}, [True, True, False], [0.75, 0.25]),
        ],
        ids=str,
    )
    def test_aggregates_go_by_their_settings(self, world, settings: dict[str, Any], reported, expected) -> None:
        run = world.build("cosmos", **settings, **PLAIN)
        method = remembering(run, [[0.9, 0.1], [0.6, 0.4], [0.1, 0.9]], [0, 0, 0], reported)
        assert method.aggregates(np.array(reported))[0, 0].tolist() == pytest.approx(expected)

    def test_clipping_bounds_the_steps_of_clients_and_server(self, world) -> None:
        # Gradients are far longer than the bound of .001, so each of two steps of a net goes the learning rate times
        # that far in one direction: .0004 with the server's rate of .4, .0002 with the clients' of .2.
        world.rounds = 2
        settings = PLAIN | {"clip": 1e-3, "clustering": "singleton", "distill_only": True}
        start = servers(world.run("cosmos", **(settings | {"server_epochs": 0})))
        run = world.build("cosmos", **settings)
        rounds = run.rounds()
        next(rounds)
        taught, before = servers(run), {name: tensor.clone() for name, tensor in weights(run).items()}
        next(rounds)
        for first, last, lr in ((start, taught, 0.4), (before, weights(run), 0.2)):
            moved = np.concatenate([np.asarray(last[name] - first[name]).reshape(3, -1) for name in first], axis=1)
            assert np.linalg.norm(moved, axis=1) == pytest.approx([2 * lr * 1e-3] * 3, rel=1e-2)


class TestClustering:
    def test_frozen_after_the_first_time_by_default(self, world) -> None:
        assert CosmosConfig().recluster_every == 0
        assert CosmosConfig(clustering="kmeans").recluster_every == 1
        assert CosmosConfig(clustering="kmeans", recluster=0).recluster_every == 0

    @pytest.mark.parametrize(("every", "rounds"), [(0, [0]), (1, [0, 1, 2, 3, 4]), (2, [0, 2, 4]), (3, [0, 3])])
    def test_reclustering_keeps_to_its_schedule(self, world, every: int, rounds: list[int]) -> None:
        world.rounds, clustered = 5, []
        run = world.build("cosmos", recluster=every, **PLAIN)
        recluster = run.method.recluster
        run.method.recluster = lambda rnd: (clustered.append(rnd.index), recluster(rnd))
        list(run.rounds())
        assert clustered == rounds

    @pytest.mark.parametrize(
        ("settings", "expected", "threshold"),
        [
            ({"clustering": "single"}, [0, 0, 0], None),
            ({"clustering": "singleton"}, [0, 1, 2], None),
            ({"clustering": "oracle"}, [0, 1, 0], None),  # the world's true groups
            ({"clustering": "kmeans", "clusters": 2}, [0, 0, 1], None),
            ({"clustering": "agglomerative", "clusters": 3}, [0, 1, 2], None),
            ({"clustering": "agglomerative", "clusters": "auto"}, [0, 0, 1], None),
            ({"clustering": "farthest", "clusters": 2}, [0, 0, 1], None),
            ({"clustering": "greedy_eps", "epsilon": 0.29}, [0, 0, 1], None),
            ({"clustering": "greedy_eps", "epsilon": 0.28}, [0, 1, 2], None),
            ({"clusters": 2}, [0, 0, 1], 0.2 * 2**0.5),
            ({"clusters": 3}, [0, 1, 2], 0.0),
            ({"clusters": "auto"}, [0, 0, 1], 0.2 * 2**0.5),
            ({"clusters": 2, "epsilon_step": 0.2}, [0, 0, 1], 0.4),
            ({"clusters": "groups+1"}, [0, 1, 2], 0.0),
            ({"clusters": "groups-1"}, [0, 0, 0], 0.8 * 2**0.5),
            ({"clusters": "emerges"}, [0, 0, 1], 0.2 * 2**0.5),
            ({"clusters": "emerges", "emergence": "gap"}, [0, 0, 1], (0.2 + 0.1 * 0.7) * 2**0.5),
            ({"clusters": "emerges", "emergence": "quantile"}, [0, 0, 1], 0.2 * 2**0.5),
            ({"clusters": "emerges", "emergence": "stability"}, [0, 0, 0], 2**0.5),  # one public sample has no parts
        ],
        ids=str,
    )
    def test_every_clustering_by_hand(self, world, settings: dict[str, Any], expected, threshold) -> None:
        # Clients say 1, .8 and 0 of one of two classes: in units of sqrt 2 they are .2, 1 and .8 from each other, and
        # the silhouette is best with the first two together.
        run = world.build("cosmos", **settings, **PLAIN)
        method = remembering(run, [[1.0, 0.0], [0.8, 0.2], [0.0, 1.0]], [0, 0, 0], [True] * 3)
        method.recluster(Round(0, 0, run.federation))
        assert method.assignment.tolist() == expected
        assert method.threshold == (None if threshold is None else pytest.approx(threshold))

    @pytest.mark.parametrize(
        ("said", "found", "then_said", "then_found"),
        [
            ([1.0, 0.8, 0.0], [0, 0, 1], [0.1, 1.0, 0.6], [1, 0, 0]),
            ([0.0, 1.0, 0.8], [1, 0, 0], [1.0, 0.1, 0.6], [0, 1, 0]),
        ],
    )
    def test_kmeans_goes_on_from_its_centroids(self, world, said, found, then_said, then_found) -> None:
        # Two clients have the mean (.9, .1) and one is alone at (0, 1). The two, as most, continue the one cluster that
        # there was, whether or not k-means counts them first. When all change their minds each goes to the nearest of
        # the old means, .9 and 0: those who say 1 and .6 to the first, which is now at .8, who says .1 to the other.
        run = world.build("cosmos", clustering="kmeans", clusters=2, **PLAIN)
        method = remembering(run, [[p, 1 - p] for p in said], [0, 0, 0], [True] * 3)
        method.recluster(Round(0, 0, run.federation))
        assert method.assignment.tolist() == found
        assert method.centroids.flatten().tolist() == pytest.approx([0.9, 0.1, 0.0, 1.0])
        remembering(run, [[p, 1 - p] for p in then_said], found, [True] * 3)
        for index in range(1, 5):  # nothing is drawn any more
            method.recluster(Round(index, 0, run.federation))
            assert method.assignment.tolist() == then_found
            assert method.centroids.flatten().tolist() == pytest.approx([0.8, 0.2, 0.1, 0.9])

    @pytest.mark.parametrize(
        ("asked", "found"),
        [
            (2, 2),
            (3, 3),
            (5, 3),
            ("groups", 2),
            ("groups+0", 2),
            ("groups+1", 3),
            ("groups+2", 3),
            ("groups-1", 1),
            ("groups-7", 1),
        ],
    )
    def test_no_more_clusters_than_clients(self, world, asked: int | str, found: int) -> None:
        assert world.build("cosmos", clusters=asked, **PLAIN).method.target_number(np.arange(3)) == found

    def test_reclustering_keeps_models_with_their_clusters(self, world) -> None:
        # Nobody changes cluster, so re-clustering every round must change nothing at all.
        frozen, again = (
            world.run("cosmos", clustering="singleton", recluster=recluster, **PLAIN) for recluster in (0, 1)
        )
        assert same(frozen, again)
        assert all((a == b).all() for a, b in zip(servers(frozen).values(), servers(again).values(), strict=True))

    @pytest.mark.parametrize("server", ["models", "heads"])
    def test_split_off_clusters_copy_their_model(self, world, server: str) -> None:
        run = world.run("cosmos", clustering="single", server=server, **PLAIN)
        inputs = torch.from_numpy(world.public)
        before = run.method.servers.predict(inputs)
        split = Matching(np.array([0, 1, 0]), np.array([0, 0]), np.array([True, False]))
        torch.testing.assert_close(run.method.servers.regrouped(split).predict(inputs), before.expand(2, -1, -1))

    def test_only_a_cluster_that_goes_on_keeps_its_moments(self, world) -> None:
        world.options = {"optimizer_state": "persist", "momentum": 0.9}
        run = world.run("cosmos", clustering="single", **PLAIN)
        (before,) = run.method.servers.cohort.members.models.moments["server"]["momentum:head.weight"]
        split = Matching(np.array([1, 0, 1]), np.array([0, 0]), np.array([False, True]))
        regrouped = run.method.servers.regrouped(split).cohort
        fresh, kept = regrouped.members.models.moments["server"]["momentum:head.weight"]
        assert before.abs().sum() > 0
        assert (kept == before).all()
        assert (fresh == 0).all()

    @pytest.mark.parametrize(
        "settings",
        [
            {"clustering": "greedy_k", "clusters": 2},
            {"clustering": "greedy_k", "clusters": 2, "epsilon_step": 0.05},
            {"clustering": "greedy_k", "clusters": "auto"},
            {"clustering": "greedy_eps", "epsilon": 0.3},
            {"clustering": "kmeans", "clusters": 2},
            {"clustering": "farthest", "clusters": 2},
            {"clustering": "agglomerative", "clusters": 2},
            {"clustering": "agglomerative", "clusters": "auto"},
            {"clustering": "random"},
            {"clustering": "greedy_k", "clusters": "groups"},
            {"clustering": "greedy_k", "clusters": "groups-1"},
            {"clustering": "greedy_k", "clusters": "emerges"},
            {"clustering": "greedy_k", "clusters": "emerges", "emergence": "stability"},
        ],
        ids=str,
    )
    def test_every_clustering_runs_and_reports(self, world, settings: dict[str, Any]) -> None:
        for distance in ("l2", "l2_raw", "ce", "js") if settings["clustering"] == "greedy_k" else ("l2",):
            run = world.run("cosmos", distance=distance, **settings, **PLAIN)
            last = list(run.rounds())[-1]
            assert 1 <= last.values["clusters"] <= 3
            assert last.values["cluster_ari"] is not None
            assert [row["cluster"] for row in last.clients] == run.method.clusters().tolist()
        opens = settings["clustering"] == "random" or "groups" in str(settings.get("clusters"))
        assert any("true groups" in badge for badge in run.facts()["badges"]) == opens

    def test_greedy_threshold_is_reported(self, world) -> None:
        run = world.run("cosmos", clusters=2, **PLAIN)
        assert list(run.rounds())[-1].values["cluster_threshold"] > 0


def test_distill_only_trains_on_private_data_in_the_first_round(world, assert_equal, weights_of) -> None:
    run = world.run("cosmos", clustering="single", feedback="no_model", distill_only=True, **PLAIN)
    for model, (x, y) in zip(world.start, world.private, strict=True):
        model.train(x, y, world.lr, steps=world.epochs)
    for _ in range(2):
        told = np.mean([model.probabilities(world.public) for model in world.start], axis=0)
        for model in world.start:
            model.distil(world.public, told, 0.2, steps=2)
    assert_equal(weights_of(run), world.start)


def test_server_reset_starts_from_the_first_weights_every_round(world) -> None:
    # With no server training a reset server predicts what a fresh one does, and so does one that goes on; with
    # training they differ from the second round on.
    reset, going_on = (world.run("cosmos", server_reset=flag, **PLAIN) for flag in (True, False))
    assert not same(reset, going_on)
    untrained = PLAIN | {"server_epochs": 0}
    assert same(world.run("cosmos", server_reset=True, **untrained), world.run("cosmos", **untrained))


@pytest.mark.parametrize("aggregation", ["mean", "median", "max_conf", "trimmed", "entropy_weighted"])
def test_every_aggregation_runs(world, aggregation: str) -> None:
    run = world.run("cosmos", aggregation=aggregation, **PLAIN)
    assert all(np.isfinite(value.numpy()).all() for value in weights(run).values())


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"clusters": 0}, "clusters"),
        ({"clusters": "many"}, "clusters"),
        ({"clusters": "groups+"}, "clusters"),
        ({"clusters": "groups*2"}, "clusters"),
        ({"clusters": "groups+2 "}, "clusters"),
        ({"clusters": "5"}, "clusters"),
        ({"clusters": "emerges", "clustering": "kmeans"}, "clusters=emerges"),
        ({"clusters": "emerges", "epsilon_step": 0.1}, "clusters=emerges"),
        ({"clustering": "greedy_eps"}, "epsilon"),
        ({"epsilon": 0.1}, "epsilon"),
        ({"clustering": "greedy_eps", "epsilon": -1.0}, "epsilon"),
        ({"clustering": "kmeans", "epsilon_step": 0.1}, "epsilon_step"),
        ({"epsilon_step": 0.0}, "epsilon_step"),
        ({"member_weights": "size", "aggregation": "median"}, "member_weights"),
        ({"trim": 0.5}, "trim"),
        ({"temperature": -1.0}, "temperature"),
        ({"consistency": -1.0}, "consistency"),
        ({"distill_lr": 0.0}, "distill_lr"),
        ({"server_lr": 0.0}, "server_lr"),
        ({"server_epochs": -1}, "server_epochs"),
        ({"head_sweeps": 0}, "head_sweeps"),
        ({"recluster": -1}, "recluster"),
        ({"clip": 0.0}, "clip"),
        ({"mix_width": 0.0}, "mix_width"),
    ],
    ids=str,
)
def test_impossible_settings_are_refused(wrong: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=f"cosmos.{key}"):
        CosmosConfig(**wrong)


@pytest.mark.parametrize("codec", ["none", "float16", "top-2", "hard"])
def test_bytes_under_a_codec_equal_the_closed_form(codec: str) -> None:
    dataset = made_up_data()
    config = CosmosConfig(consistency=0.0, distill_epochs=1, server_epochs=1)  # passes move no byte
    run = make_run("cosmos", dataset, deal(dataset), config=config, codec=codec)
    rows = finish(run).rows
    public = len(run.data.public)
    # methods.md 2.8 with 4 classes: N C b; two bytes a number; k = 2 entries of 32 + 2 bits; 2 bits a label
    closed = {"none": 16 * public, "float16": 8 * public, "top-2": -(-68 * public // 8), "hard": -(-2 * public // 8)}
    assert [row["bytes_up"] for row in rows] == [6 * closed[codec]] * 3
    assert [row["bytes_down"] for row in rows] == [0, 6 * closed[codec], 6 * closed[codec]]
    plan = METHODS["cosmos"]().plan(client_facts(run, codec=codec))
    assert (plan.up_bytes, plan.down_bytes) == (closed[codec], closed[codec])


@pytest.mark.parametrize(
    ("settings", "passes"),
    [
        ({"clusters": 2}, 6),
        ({"clusters": 4}, 9),
        ({"clusters": "auto"}, 6),
        ({"clusters": "emerges"}, 6),
        ({"clusters": "groups"}, 6),
        ({"clusters": "groups+1"}, 9),
        ({"clusters": "groups-2"}, 3),
        ({"clustering": "greedy_eps", "epsilon": 0.1}, 6),
        ({"clustering": "single"}, 3),
        ({"clustering": "singleton", "clusters": 2}, 9),
        ({"feedback": "no_model"}, 0),
        ({"clusters": 2, "server": "heads"}, 3),
        ({"clusters": 2, "server": "heads", "head_schedule": "sequential", "head_sweeps": 4}, 24),
    ],
    ids=str,
)
def test_planned_passes_over_public_data(world, settings: dict[str, Any], passes: int) -> None:
    # Three epochs for each of the server's models, no more than the three clients; as many as the square root of their
    # number where it is found on the way. Heads share every pass, or take turns, here four times.
    run = world.build("cosmos", distill_epochs=2, server_epochs=3, **settings)
    client, _, server = run.method.plan(client_facts(run)).work
    assert (client.epochs, server.epochs * server.models) == (2, passes)


@pytest.mark.parametrize(
    ("clusters", "steps"), [(2, "most"), ("groups+1", "most"), ("auto", "expected"), ("emerges", "expected")]
)
def test_steps_are_expected_where_the_number_of_clusters_is_found_on_the_way(world, clusters, steps: str) -> None:
    run = world.build("cosmos", clusters=clusters, **PLAIN)
    assert run.method.plan(client_facts(run)).steps == steps


@pytest.mark.parametrize(
    "settings",
    [
        {"clustering": "kmeans"},  # whose centroids go on
        {},  # whose clusters are made again as clients report for the first time
    ],
    ids=["again", "once"],
)
def test_clusters_and_predictions_survive_a_restart(settings: dict[str, Any], tmp_path: Path) -> None:
    dataset, training = made_up_data(), replace(TRAINING, rounds=5, local_epochs=1, participation=0.67)
    config = CosmosConfig(clusters=2, consistency=0.0, distill_epochs=1, server_epochs=1, **settings)
    whole = finish(make_run("cosmos", dataset, deal(dataset), training, config=config))
    for rounds in range(1, 6):  # stopped after every round
        run = make_run("cosmos", dataset, deal(dataset), training, config=config, checkpoint=tmp_path / "run.pt")
        resumed = finish(run, rounds)
        assert resumed.rows == whole.rows[:rounds]
    assert all(torch.equal(value, resumed.weights[key]) for key, value in whole.weights.items())
    assert {row["clusters"] for row in whole.rows} == {2}


def test_needs_say_what_is_opened() -> None:
    method = METHODS["cosmos"]
    assert not method().needs().groups
    assert method(CosmosConfig(clusters="groups")).needs().groups
    assert method(CosmosConfig(clusters="groups-2")).needs().groups
    assert not method(CosmosConfig(clusters="emerges")).needs().groups
    assert method(CosmosConfig(weighting="oracle")).needs().public_labels


def test_predictions_may_be_remembered_in_half_precision(world) -> None:
    exact = world.run("cosmos", clusters=2, **PLAIN)
    world.options = {"store": "float16"}
    rounded = world.run("cosmos", clusters=2, **PLAIN)
    assert exact.method.predictions.dtype == torch.float64
    assert rounded.method.predictions.dtype == torch.float16
    # Values between 0 and 1 move by at most 2^-12, targets and weights by about as much; bytes are those of float64.
    assert same(rounded, exact, 1e-2)
    assert not same(rounded, exact, 1e-9)
    for row, other in zip(rounded.rounds(), exact.rounds(), strict=True):
        assert row.values["bytes_up"] == other.values["bytes_up"]
        assert row.values["bytes_down"] == other.values["bytes_down"]
