"""CFL's splits by hand, its null settings, and what a tree of clusters must always be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fl_bench.errors import ConfigError
from fl_bench.federation.rounds import Round
from fl_bench.methods.cfl import CFL, CFLConfig
from fl_bench.methods.similarity import cosines

ALWAYS = {"criterion": "paper", "epsilon1": 1e9, "epsilon2": 0.0, "start_round": -1}


def plant(world, clients: int = 4) -> None:
    """All weights start at 0; every client holds x = (1, 0) three times, even ones with label 0, odd ones with 1.

    One full step of lr 0.3: p = 1/3, so row c of W moves by 0.3 * (onehot(y)_c - 1/3) * x, and b by the same
    without x. An even client: W[:, 0] = b = (0.2, -0.1, -0.1); an odd one (-0.1, 0.2, -0.1).
    ||dW||^2 = 2 * (0.04 + 0.01 + 0.01) = 0.12, norm 0.3464; the cosine of the two is (-0.02 - 0.02 + 0.01) / 0.06 =
    -1/2. Their mean is (0.05, 0.05, -0.1): squared norm 2 * 0.015 = 0.03, norm 0.1732, half of the largest.
    """
    x = np.array([[1.0, 0.0]] * 3)
    world.private = [(x, np.full(3, client % 2)) for client in range(clients)]
    world.start = [type(world.start[0])(np.zeros((3, 2)), np.zeros(3)) for _ in range(clients)]
    world.lr, world.rounds, world.epochs = 0.3, 1, 1


def build(world, **settings):
    run = world.build("cfl", **settings)
    run.method.setup(run.federation)  # once more: the fixture replaced the initial weights
    return run


def run_to_the_end(world, **settings):
    run = build(world, **settings)
    for _ in run.rounds():
        pass
    return run


def test_opposite_updates_split_by_hand(world) -> None:
    plant(world)
    run = run_to_the_end(world, **ALWAYS)
    method = run.method
    assert method.clusters().tolist() == [0, 1, 0, 1]
    assert method.splits == [(0, 0, 1)]
    # after the split each half averages for itself
    assert method.w["head.bias"].numpy() == pytest.approx(np.array([[0.2, -0.1, -0.1], [-0.1, 0.2, -0.1]]), abs=1e-12)
    assert method.w["head.weight"][:, :, 0].numpy() == pytest.approx(method.w["head.bias"].numpy(), abs=1e-12)
    (row,) = [row.values for row in run.rounds()]
    assert row["update_norm_mean"] == pytest.approx(0.03**0.5, abs=1e-12)
    assert row["update_norm_max"] == pytest.approx(0.12**0.5, abs=1e-12)
    everyone = run.client_cohort("linear", range(4), Round(0, 0, run.federation))
    assert method.deployed(everyone, Round(0, 0, run.federation)).index == (0, 1, 0, 1)


def test_halves_train_and_average_for_themselves(world, weights_of, assert_equal) -> None:
    plant(world)
    world.rounds, world.epochs = 3, 2
    run = run_to_the_end(world, **ALWAYS)
    models = [world.start[0].copy(), world.start[1].copy()]
    for _ in range(3):
        for model, (x, y) in zip(models, world.private, strict=False):
            model.train(x, y, world.lr, steps=2)
    assert_equal(weights_of(run), [models[0], models[1], models[0], models[1]])
    assert run.method.splits == [(0, 0, 1)]  # halves of two are too small to split


@pytest.mark.parametrize(
    ("settings", "splits"),
    [
        ({"epsilon1": 0.1733, "epsilon2": 0.3463}, 1),
        ({"epsilon1": 0.1731, "epsilon2": 0.3463}, 0),  # the cluster still moves
        ({"epsilon1": 0.1733, "epsilon2": 0.3465}, 0),  # nobody moves
    ],
)
def test_both_thresholds_of_the_paper(world, settings, splits: int) -> None:
    plant(world)
    assert len(run_to_the_end(world, criterion="paper", start_round=-1, **settings).method.splits) == splits


@pytest.mark.parametrize("start", [-1, 0, 1])
def test_no_split_up_to_the_start_round(world, start: int) -> None:
    plant(world)
    world.rounds = 4
    assert run_to_the_end(world, **{**ALWAYS, "start_round": start}).method.splits == [(start + 1, 0, 1)]


def test_two_clients_are_too_few_and_three_are_enough(world) -> None:
    plant(world, clients=2)
    assert run_to_the_end(world, **ALWAYS).method.splits == []
    plant(world, clients=3)
    assert run_to_the_end(world, **ALWAYS).method.clusters().tolist() == [0, 1, 0]


def test_the_report_is_of_the_cluster_that_is_nearest_to_a_split(world) -> None:
    # ratios 1/2, 1/4 and 1; and the ratio 0/0 of clients that all stood still is no error
    method = build(world).method
    method.norms = [(1.0, 2.0), (3.0, 12.0), (0.5, 0.5)]
    assert method.report(Round(0, 0, method.federation)) == {"update_norm_mean": 3.0, "update_norm_max": 12.0}
    method.norms = [(0.0, 0.0)]
    assert method.report(Round(0, 0, method.federation)) == {"update_norm_mean": 0.0, "update_norm_max": 0.0}


def test_auto_wants_two_calm_rounds_running() -> None:
    # Norm of the mean over the largest norm: (3, 0), (1, 0) -> 2 / 3; (3, 0), (-1, 0) -> 1 / 3.
    moving, calm = torch.tensor([[3.0, 0.0], [1.0, 0.0]]), torch.tensor([[3.0, 0.0], [-1.0, 0.0]])
    method = CFL(CFLConfig(ratio=0.34))
    method.calm, method.norms = [7, 0], []
    rounds = [calm, moving, calm, calm, calm, moving]
    assert [method.pulls_apart(1, updates) for updates in rounds] == [False, False, False, True, True, False]
    assert method.calm == [7, 0]
    assert method.norms[0] == (1.0, 3.0)
    strict = CFL(CFLConfig(ratio=0.33))
    strict.calm, strict.norms = [0], []
    assert not any(strict.pulls_apart(0, calm) for _ in range(3))


def test_auto_splits_planted_groups_and_starts_counting_again(world) -> None:
    # The ratio is 1/2 in the first round (see `plant`) and smaller afterwards, as the mean stands still sooner.
    plant(world, clients=8)
    world.rounds = 6
    run = build(world, ratio=0.51, start_round=-1)
    rows, calm = [], []
    for row in run.rounds():
        rows.append(row.values)
        calm.append(list(run.method.calm))
    assert calm[:2] == [[1], [0, 0]]  # a split starts the count again
    assert [row["clusters"] for row in rows] == [1, 2, 2, 2, 2, 2]  # afterwards all members agree: the ratio is 1
    assert rows[-1]["cluster_ari"] == 1.0
    assert run.method.splits == [(1, 0, 1)]


@pytest.mark.parametrize("settings", [{"criterion": "paper", "epsilon1": 0.0}, {"ratio": 1e-9}])
def test_never_splitting_is_uniform_fedavg_bit_for_bit(world, settings) -> None:
    x, y = world.private[1]
    world.private[1] = (x[:2], y[:2])
    world.start = [world.start[0].copy() for _ in range(3)]
    one, averaged = run_to_the_end(world, start_round=-1, **settings), world.run("fedavg", weights="uniform")
    for name, tensor in averaged.client_weights()["linear"].items():
        assert (one.client_weights()["linear"][name] == tensor).all()
        assert (one.method.w[name] == averaged.method.w[name]).all()


def test_the_partition_stays_one_and_clusters_never_grow(world) -> None:
    stream = np.random.default_rng(5)
    world.private = [(stream.normal(size=(3, 2)), stream.integers(0, 3, size=3)) for _ in range(12)]
    world.start = [world.start[0].copy() for _ in range(12)]
    world.rounds, world.options = 8, {"participation": 0.5}
    run = build(world, **ALWAYS)
    method, before = run.method, np.zeros(12, dtype=int)
    models = {name: tensor.clone() for name, tensor in method.w.items()}
    for row in run.rounds():
        index, now = row.values["round"], method.clusters().copy()
        drawn = set(run.participants(index))
        new = {child: parent for t, parent, child in method.splits if t == index}
        for client in range(12):
            if now[client] != before[client]:  # only participants move, and only to a child of where they were
                assert client in drawn
                assert new[now[client]] == before[client]
        for cluster in range(int(before.max()) + 1):
            if not any(now[client] == cluster for client in drawn):
                assert (method.w["head.bias"][cluster] == models["head.bias"][cluster]).all()
        assert sorted(set(now.tolist())) == list(range(int(now.max()) + 1))  # nobody's cluster is empty
        before, models = now, {name: tensor.clone() for name, tensor in method.w.items()}
    assert before.max() > 2


def test_the_first_half_goes_by_identity(world) -> None:
    plant(world)
    run = build(world, **ALWAYS)
    run.federation.identities = (3, 2, 1, 0)
    next(iter(run.rounds()))
    assert run.method.clusters().tolist() == [1, 0, 1, 0]  # client 3 is the one that is named 0


def test_batchnorm_statistics_are_averaged_but_no_part_of_an_update(normed_world) -> None:
    # body 2 * 4 + 4, scale and shift 8, head 4 * 3 + 3: 35 trained numbers, and 8 statistics beside them
    run = run_to_the_end(normed_world, **ALWAYS)
    method, tree = run.method, run.client_weights()["mlp-4"]
    assert method.updates(tree, np.zeros(3, dtype=int)).shape == (3, 35)
    for cluster in range(len(method.calm)):
        here = np.flatnonzero(method.clusters() == cluster)
        for name in ("body.1.running_mean", "head.bias"):
            assert torch.allclose(method.w[name][cluster], tree[name][here].mean(dim=0), rtol=0, atol=1e-12)


def test_updates_are_from_the_model_of_the_own_cluster(world) -> None:
    method = build(world).method
    method.w = {"head.bias": torch.tensor([[1.0, 2.0, 3.0], [-1.0, 0.0, 5.0]]), "head.weight": torch.zeros(2, 3, 2)}
    tree = {"head.bias": torch.zeros(2, 3), "head.weight": torch.ones(2, 3, 2)}
    assert method.updates(tree, np.array([1, 0])).tolist() == [[1, 0, -5] + [1] * 6, [-1, -2, -3] + [1] * 6]


def test_what_is_kept_is_restored(world) -> None:
    plant(world)
    run = run_to_the_end(world, **ALWAYS)
    other = build(world, **ALWAYS).method
    other.load_state_dict(run.method.state_dict())
    assert other.splits == [(0, 0, 1)]
    assert other.calm == [0, 0]
    assert other.member.tolist() == [0, 1, 0, 1]
    assert all((other.w[name] == tensor).all() for name, tensor in run.method.w.items())


def test_cosines_by_hand() -> None:
    # (3, 4) and (0, 2): 8 / (5 * 2) = 0.8; opposite directions -1; nothing is like a zero vector
    vectors = torch.tensor([[3.0, 4.0], [0.0, 2.0], [0.0, -1.0], [0.0, 0.0]], dtype=torch.float64)
    expected = [[1, 0.8, -0.8, 0], [0.8, 1, -1, 0], [-0.8, -1, 1, 0], [0, 0, 0, 0]]
    assert cosines(vectors).numpy() == pytest.approx(np.array(expected), abs=1e-12)


@pytest.mark.parametrize("wrong", [{"ratio": 0.0}, {"epsilon1": -0.1}, {"epsilon2": -0.1}, {"start_round": -2}])
def test_impossible_settings_are_refused(wrong) -> None:
    with pytest.raises(ConfigError, match=f"cfl.{next(iter(wrong))}"):
        CFLConfig(**wrong)
