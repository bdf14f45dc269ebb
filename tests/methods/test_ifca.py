"""IFCA against softmax regression in NumPy, its null settings, and planted groups."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from fl_bench.benchmarks.grid.configure import plain
from fl_bench.errors import ConfigError
from fl_bench.federation.rounds import Round
from fl_bench.federation.settings import Training
from fl_bench.methods.cluster_models import cluster_means
from fl_bench.methods.contract import deal, finish, made_up_data, make_run
from fl_bench.methods.ifca import IFCA, IFCAConfig


def models_of(tree, kind) -> list:
    return [kind(w.numpy(), b.numpy()) for w, b in zip(tree["head.weight"], tree["head.bias"], strict=True)]


def of_all_starts(tree):
    """The models of a tree (starts, clusters, ...), one start after the other."""
    return {name: tensor.flatten(0, 1) for name, tensor in tree.items()}


def loss(model, x: np.ndarray, y: np.ndarray) -> float:
    return float(-np.log(model.probabilities(x)[np.arange(len(x)), y]).mean())


def share_the_start(world) -> None:
    world.start = [world.start[0].copy() for _ in world.private]


def finished(run):
    for _ in run.rounds():
        pass
    return run


def deployed(run):
    rnd = Round(run.training.rounds - 1, 0, run.federation)
    everyone = run.client_cohort(run.architectures[0], range(run.data.clients), rnd)
    return run.method.deployed(everyone, rnd)


@pytest.mark.parametrize("weights", ["uniform", "size"])
def test_three_rounds_against_numpy(world, weights_of, assert_equal, weights: str) -> None:
    share_the_start(world)
    x, y = world.private[0]
    world.private[0] = (
        np.repeat(x[:1], 6, axis=0),
        np.repeat(y[:1], 6),
    )  # six equal samples: weight 6, 2 * 6 / 3 steps
    run = world.build("ifca", clusters=2, weights=weights)
    run.method.setup(run.federation)  # once more: the fixture replaced the initial weights
    servers = models_of(run.federation.fresh_weights("linear", 2), type(world.start[0]))
    assert_equal(servers[:1], world.start[:1])
    finished(run)
    chosen = set()
    for _ in range(world.rounds):
        choice = [int(np.argmin([loss(server, x, y) for server in servers])) for x, y in world.private]
        trained = []
        for k, (x, y) in zip(choice, world.private, strict=True):
            model = servers[k].copy()
            model.train(x, y, world.lr, steps=world.epochs * len(x) // 3)
            trained.append(model)
        for k in set(choice):
            members = [i for i in range(3) if choice[i] == k]
            counts = [len(world.private[i][1]) if weights == "size" else 1 for i in members]
            servers[k] = type(servers[k])(
                np.average([trained[i].w for i in members], axis=0, weights=counts),
                np.average([trained[i].b for i in members], axis=0, weights=counts),
            )
        chosen.add(tuple(choice))
    assert any(len(set(choice)) == 2 for choice in chosen)  # both models are in use at some time
    assert_equal(weights_of(run), trained)
    assert_equal(models_of(of_all_starts(run.method.w), type(world.start[0])), servers)
    assert run.method.clusters().tolist() == choice
    assert deployed(run).index == tuple(choice)


@pytest.mark.parametrize("weights", ["uniform", "size"])
def test_one_cluster_is_fedavg_bit_for_bit(world, weights: str) -> None:
    x, y = world.private[1]
    world.private[1] = (x[:2], y[:2])
    share_the_start(world)
    one, averaged = world.run("ifca", clusters=1, weights=weights), world.run("fedavg", weights=weights)
    for name, tensor in averaged.client_weights()["linear"].items():
        assert (one.client_weights()["linear"][name] == tensor).all()
        assert (one.method.w[name][0] == averaged.method.w[name]).all()


def plant(world) -> None:
    """Six clients with the same inputs; the odd ones call class 0 what the even ones call class 1."""
    x = np.array([[1.0, -2.0], [-1.0, 2.0], [2.0, -1.0]])
    world.private = [(x, np.array([0, 1, 0]) if client % 2 == 0 else np.array([1, 0, 1])) for client in range(6)]
    world.start = [type(world.start[0])(np.zeros((3, 2)), np.zeros(3)) for _ in range(6)]


def planted_models(method: IFCA):
    """A start: model 0 leans towards the odd clients' classes, model 1 towards the even ones', others to class 2."""
    w = torch.tensor([[[-1.0, 1.0], [1.0, -1.0], [0.0, 0.0]]], dtype=torch.float64)
    w = torch.cat([0.1 * w, -0.1 * w, *[0 * w] * (method.config.clusters - 2)])
    b = torch.zeros(method.config.clusters, 3, dtype=torch.float64)
    b[2:, 2] = 5.0
    return {"head.weight": w[None], "head.bias": b[None]}


def test_planted_groups_are_found_and_an_empty_cluster_stays(world, monkeypatch) -> None:
    plant(world)
    monkeypatch.setattr(IFCA, "fresh_models", planted_models)
    run = world.build("ifca", clusters=3)
    rows = [row.values for row in run.rounds()]
    assert [row["cluster_ari"] for row in rows] == [1.0, 1.0, 1.0]
    assert run.method.clusters().tolist() == [1, 0, 1, 0, 1, 0]
    before = planted_models(run.method)
    for name, tensor in run.method.w.items():
        assert (tensor[0, 2] == before[name][0, 2]).all()
        assert (tensor[0, :2] != before[name][0, :2]).any()


def test_equally_good_models_give_the_first(world, monkeypatch) -> None:
    plant(world)
    monkeypatch.setattr(IFCA, "fresh_models", lambda self: {name: 0 * t for name, t in planted_models(self).items()})
    world.rounds = 1
    assert world.run("ifca", clusters=2).method.clusters().tolist() == [0] * 6


def test_the_body_is_everyones_where_it_is_shared(world, monkeypatch) -> None:
    # Weights come from what the clients uploaded in the last round; all weigh the same.
    world.model = "mlp-2"
    run = world.build("ifca", clusters=2, share_body=True)
    fresh = run.method.fresh_models()
    for body in fresh["body.1.weight"][0]:  # what all clients start from
        assert (body == run.federation.start["mlp-2"]["body.1.weight"][0]).all()
    assert (fresh["head.weight"][0, 0] != fresh["head.weight"][0, 1]).any()
    choices = iter([[0, 1, 0], [1, 1, 0], [0, 0, 1]])
    losses = lambda cohort, tree: torch.nn.functional.one_hot(1 - torch.tensor(next(choices)), 2)  # noqa: E731
    monkeypatch.setattr("fl_bench.federation.cohort.Cohort.private_loss", losses)
    finished(run)
    trained = run.client_weights()["mlp-2"]
    for name, tensor in trained.items():
        parts = [[0, 1, 2]] * 2 if name.startswith("body.") else [[0, 1], [2]]
        for k, members in enumerate(parts):
            assert torch.allclose(run.method.w[name][0, k], tensor[members].mean(dim=0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("starts", [1, 2])
@pytest.mark.parametrize(("share", "down"), [(False, 3 * 15), (True, 6 + 3 * 9)])
def test_bytes(world, moves_as_planned, share: bool, down: int, starts: int) -> None:
    # mlp-2 on two features: body 2 * 2 + 2 = 6 numbers, head 2 * 3 + 3 = 9, of 8 bytes; a cluster's number has 4 bytes,
    # and the loss that several starts are compared by 8
    world.model = "mlp-2"
    run = world.build("ifca", clusters=3, share_body=share, starts=starts)
    rows = [row.values for row in run.rounds()]
    up, down = (15 * 8 + 4, down * 8) if starts == 1 else (2 * (15 * 8 + 4 + 8), 2 * down * 8)
    assert [row["bytes_up"] for row in rows] == [3 * up] * 3
    assert [row["bytes_down"] for row in rows] == [0, 3 * down, 3 * down]
    assert [row["steps_local"] for row in rows] == [3 * 2 * starts] * 3
    assert moves_as_planned(run)


@pytest.mark.parametrize("weights", ["uniform", "size"])
def test_two_starts_against_numpy(world, weights_of, assert_equal, monkeypatch, weights: str) -> None:
    # Clients hold 9, 3 and 1 copies of a sample, so that every batch is alike and they take 6, 2 and 1 steps.
    share_the_start(world)
    kind, settings = type(world.start[0]), {"clusters": 2, "weights": weights, "starts": 2}
    for client, copies in ((0, 9), (1, 3), (2, 1)):
        x, y = world.private[client]
        world.private[client] = np.repeat(x[:1], copies, axis=0), np.repeat(y[:1], copies)
    run = world.build("ifca", **settings)
    run.method.setup(run.federation)  # once more: the fixture replaced the initial weights
    fresh = models_of(run.federation.fresh_weights("linear", 4), kind)
    servers = [fresh[:2], fresh[2:]]
    assert_equal(models_of(of_all_starts(run.method.w), kind), fresh)
    serving = []
    for t, row in enumerate(run.rounds()):
        losses, trained, choices = [], [], []
        for start in range(2):
            table = [[loss(server, x, y) for server in servers[start]] for x, y in world.private]
            losses.append(np.average([min(line) for line in table], weights=[9, 3, 1] if weights == "size" else None))
            choice = [int(np.argmin(line)) for line in table]
            models = [servers[start][k].copy() for k in choice]
            for model, (x, y) in zip(models, world.private, strict=True):
                model.train(x, y, world.lr, steps=-(-world.epochs * len(x) // 3))
            for k in set(choice):
                members = [i for i in range(3) if choice[i] == k]
                counts = [(9, 3, 1)[i] if weights == "size" else 1 for i in members]
                servers[start][k] = kind(
                    np.average([models[i].w for i in members], axis=0, weights=counts),
                    np.average([models[i].b for i in members], axis=0, weights=counts),
                )
            trained.append(models)
            choices.append(choice)
        best = int(np.argmin(losses))
        serving.append(best)
        assert row.values["start"] == best
        assert_equal(models_of(of_all_starts(run.method.w), kind), servers[0] + servers[1])
        assert run.method.clusters().tolist() == choices[best]
        rnd = Round(t, 0, run.federation)
        everyone = run.client_cohort("linear", range(3), rnd)
        found = run.method.deployed(everyone, rnd)
        assert found.index == tuple(choices[best])
        assert_equal(models_of(found.weights, kind), servers[best])
        assert_equal(models_of(run.method.views(everyone, rnd)["+local"].weights, kind), trained[best])


def test_the_first_start_is_the_run_with_one(world) -> None:
    share_the_start(world)
    one, two = world.run("ifca"), world.run("ifca", starts=2)
    for name, tensor in one.method.w.items():
        assert (two.method.w[name][:1] == tensor).all()
        assert (two.method.w[name][1:] != tensor).any()


@pytest.mark.parametrize("share_body", [False, True])
def test_each_start_ends_where_it_would_alone(world, monkeypatch, share_body: bool) -> None:
    # Clients hold copies of one sample, so that all batches are alike. Nobody has class 2, which the second model of
    # the second start is sure of: it stays as it is.
    world.model = "mlp-2"
    copies = [np.repeat(x[:1], 3, axis=0) for x, _ in world.private]
    world.private = [(x, np.full(3, label)) for x, label in zip(copies, (0, 1, 0), strict=True)]
    fresh = world.build("ifca", starts=2, share_body=share_body).method.fresh_models()
    fresh["head.bias"][1, 1, 2] += 5.0

    def drawn(*starts: int) -> None:
        picked = {name: tensor[list(starts)] for name, tensor in fresh.items()}
        monkeypatch.setattr(IFCA, "fresh_models", lambda _: picked)

    drawn(0, 1)
    both = world.run("ifca", starts=2, share_body=share_body).method.w
    assert torch.equal(both["head.weight"][1, 1], fresh["head.weight"][1, 1])
    for start in range(2):
        drawn(start)
        for name, tensor in world.run("ifca", share_body=share_body).method.w.items():
            assert torch.allclose(both[name][start], tensor[0], rtol=0, atol=1e-12), name


def test_starts_have_batches_of_their_own(world, monkeypatch) -> None:
    stream = np.random.default_rng(2)
    world.private = [(stream.normal(size=(9, 2)), stream.integers(0, 3, 9)) for _ in range(3)]
    share_the_start(world)
    fresh = world.build("ifca").method.fresh_models()
    monkeypatch.setattr(IFCA, "fresh_models", lambda _: {name: torch.cat([t, t]) for name, t in fresh.items()})
    for tensor in world.run("ifca", starts=2).method.w.values():
        assert (tensor[0] != tensor[1]).any()


def test_a_start_that_collapses_does_not_serve(world, monkeypatch) -> None:
    # In the first start both models are 0: all six clients choose model 0, the loss is ln 3. In the second, models lean
    # to one group each.
    plant(world)

    def two_starts(self: IFCA) -> dict[str, torch.Tensor]:
        good = planted_models(self)
        return {name: torch.cat([0 * tensor, tensor]) for name, tensor in good.items()}

    monkeypatch.setattr(IFCA, "fresh_models", two_starts)
    run = world.build("ifca", starts=2)
    rows = [row.values for row in run.rounds()]
    assert [row["start"] for row in rows] == [1, 1, 1]
    assert [row["cluster_ari"] for row in rows] == [1.0, 1.0, 1.0]
    assert run.method.chosen.tolist() == [[0] * 6, [1, 0, 1, 0, 1, 0]]


def test_every_start_shares_a_body_of_its_own(world) -> None:
    world.model = "mlp-2"
    run = finished(world.build("ifca", share_body=True, starts=2))
    body, head = run.method.w["body.1.weight"], run.method.w["head.weight"]
    assert (body[:, 0] == body[:, 1]).all()
    assert (body[0] != body[1]).any()
    assert all((one != other).any() for one, other in itertools.pairwise(head.flatten(0, 1)))
    rnd = Round(2, 0, run.federation)
    everyone = run.client_cohort("mlp-2", range(3), rnd)
    for start in range(2):
        uploads = everyone.kept(f"start {start}")["body.1.weight"]
        assert torch.allclose(body[start, 0], uploads.mean(dim=0), rtol=0, atol=1e-12)


def test_who_never_took_part_holds_its_initial_model(world, monkeypatch) -> None:
    share_the_start(world)
    world.rounds, world.options = 1, {"participation": 0.34}
    run = finished(world.build("ifca", starts=2))
    (drawn,) = run.participants(0)
    rnd = Round(0, 0, run.federation)
    everyone = run.client_cohort("linear", range(3), rnd)
    held = run.method.views(everyone, rnd)["+local"].weights["head.weight"].numpy()
    assert [bool((held[i] == world.start[0].w).all()) for i in range(3)] == [i != drawn for i in range(3)]


def test_several_starts_survive_a_stop_and_equal_both_engines(tmp_path) -> None:
    dataset, config = made_up_data(), IFCAConfig(starts=3)
    training = Training(
        rounds=4, batch_size=8, optimizer="sgd", lr=0.1, momentum=0.9, precision="float64", participation=0.4
    )
    training = replace(training, optimizer_state="persist")

    def run(**changes):
        options = {key: changes.pop(key) for key in ("checkpoint",) if key in changes}
        return make_run("ifca", dataset, deal(dataset), replace(training, **changes), config=config, **options)

    whole, stacked = finish(run(engine="loop")), finish(run(engine="stacked"))
    finish(run(engine="loop", checkpoint=tmp_path / "half.pt"), rounds=2)
    resumed = finish(run(engine="loop", checkpoint=tmp_path / "half.pt"))
    assert [row["start"] for row in resumed.rows] == [row["start"] for row in whole.rows]
    over = run(engine="loop", checkpoint=tmp_path / "half.pt")
    finish(over)  # no round is left
    assert over.method.serving == whole.rows[-1]["start"] > 0
    for name, tensor in whole.weights.items():
        assert torch.equal(tensor, resumed.weights[name]), name
        assert torch.allclose(tensor, stacked.weights[name], rtol=0, atol=1e-9), name


def test_one_start_is_the_default_and_no_part_of_a_cells_key(world) -> None:
    run = world.build("ifca")
    assert "start" not in next(run.rounds()).values
    assert "starts" not in plain(IFCAConfig())
    assert run.client_models("linear").kept == {}


def test_who_never_took_part_deploys_what_fits_its_training_data(world, monkeypatch) -> None:
    plant(world)
    monkeypatch.setattr(IFCA, "fresh_models", planted_models)
    world.rounds, world.options = 1, {"participation": 0.5}
    run = world.run("ifca", clusters=2)
    drawn = run.participants(0)
    assert deployed(run).index == (1, 0, 1, 0, 1, 0)
    # looking at a newcomer makes it no member
    assert run.method.clusters().tolist() == [1 - i % 2 if i in drawn else -1 for i in range(6)]


def test_a_client_not_drawn_keeps_its_cluster(world, monkeypatch) -> None:
    plant(world)
    monkeypatch.setattr(IFCA, "fresh_models", planted_models)
    world.rounds, world.options = 4, {"participation": 0.3}
    run = world.build("ifca", clusters=2)
    seen: set[int] = set()
    for row in run.rounds():
        seen.update(run.participants(row.values["round"]))
        assert run.method.clusters().tolist() == [1 - i % 2 if i in seen else -1 for i in range(6)]


def test_views_are_the_cluster_model_and_the_local_models(world) -> None:
    share_the_start(world)
    run = world.run("ifca")
    assert run.facts()["deployed"] == "global"
    assert run.facts()["views"] == ["+local", "global"]


def test_means_within_clusters_by_hand() -> None:
    # Cluster 0: (1 * 2 + 3 * 6) / 4 = 5; cluster 1 has nobody and stays at -4; cluster 2 is new and has -1.
    models = {"a": torch.tensor([[0.5], [-4.0]])}
    uploads = {"a": torch.tensor([[2.0], [-1.0], [6.0]])}
    means = cluster_means(models, uploads, np.array([0, 2, 0]), torch.tensor([1.0, 7.0, 3.0]))
    assert means["a"].flatten().tolist() == [5.0, -4.0, -1.0]


@pytest.mark.parametrize("setting", ["clusters", "starts"])
def test_impossible_settings_are_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match=rf"ifca\.{setting} must be at least 1"):
        IFCAConfig(**{setting: 0})
