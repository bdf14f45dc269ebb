"""pFedGraph against softmax regression in NumPy, its graph against a general solver, and its null settings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from fl_bench.errors import ConfigError
from fl_bench.federation.rounds import Round
from fl_bench.methods.pfedgraph import PFedGraphConfig, collaboration_graph


def project(point: np.ndarray) -> np.ndarray:
    """The simplex projection by bisection on the shift, another way than the sorting of `project_on_simplex`."""
    low, high = point.min() - 2.0, point.max()
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.maximum(point - middle, 0).sum() > 1 else (low, middle)
    return np.maximum(point - low, 0)


def graph_of(updates: np.ndarray, p: np.ndarray, alpha: float) -> np.ndarray:
    unit = updates / np.linalg.norm(updates, axis=1, keepdims=True)
    cosine = unit @ unit.T
    d = np.where(cosine > 0.9, -1.0, -cosine)
    return np.stack([project(p - row / (2 * alpha)) for row in d])


def flat(model) -> np.ndarray:
    return np.concatenate([model.b, model.w.ravel()])


def unflat(kind, vector: np.ndarray):
    return kind(vector[3:].reshape(3, 2), vector[:3])


def finished(world, **chosen):
    run = world.build("pfedgraph", **chosen)
    run.method.setup(run.federation)  # once more: the fixture replaced the initial weights
    for _ in run.rounds():
        pass
    return run


def deployed(run, round_index: int):
    rnd = Round(round_index, 0, run.federation)
    return run.method.deployed(run.client_cohort(run.architectures[0], range(run.data.clients), rnd), rnd)


@pytest.mark.parametrize("regulariser", ["attract", "official_sign", "off"])
def test_three_rounds_against_numpy(world, weights_of, assert_equal, regulariser: str) -> None:
    start, lam, alpha = world.start[0], 0.3, 0.7
    world.start = [start.copy() for _ in range(3)]
    x, y = world.private[0]
    world.private[0] = (np.repeat(x[:1], 6, axis=0), np.repeat(y[:1], 6))  # six equal samples: p = (1/2, 1/4, 1/4)
    run = finished(world, regulariser=regulariser, regulariser_weight=lam, alpha=alpha)
    sign = {"attract": -1, "official_sign": 1, "off": 0}[regulariser]
    models, pulls = [start.copy() for _ in range(3)], None
    for _ in range(world.rounds):
        for i, (x, y) in enumerate(world.private):
            for _ in range(world.epochs * len(x) // 3):
                theta = flat(models[i])
                models[i].train(x, y, world.lr)
                if pulls is not None:  # d/dtheta <v, theta> / |theta| = v / |theta| - <v, theta> theta / |theta|^3
                    norm = np.linalg.norm(theta)
                    slope = pulls[i] / norm - (pulls[i] @ theta) * theta / norm**3
                    models[i] = unflat(type(start), flat(models[i]) - world.lr * sign * lam * slope)
        trained = np.stack([flat(model) for model in models])
        a = graph_of(trained - flat(start), np.array([0.5, 0.25, 0.25]), alpha)
        local, models = models, [unflat(type(start), row) for row in a @ trained]
        pulls = a @ (trained / np.linalg.norm(trained, axis=1, keepdims=True))
    assert 0 < run.method.graph[0, 1] < run.method.graph[0, 0]  # the graph is neither uniform nor the identity
    assert run.method.graph.numpy() == pytest.approx(a, abs=1e-12)
    assert_equal(weights_of(run), local)
    weights = deployed(run, 2).weights
    pairs = zip(weights["head.weight"], weights["head.bias"], strict=True)
    assert_equal([type(start)(w.numpy(), b.numpy()) for w, b in pairs], models)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 6), alpha=st.floats(0.05, 5.0))
def test_the_graph_solves_the_quadratic_program(seed: int, n: int, alpha: float) -> None:
    stream = np.random.default_rng(seed)
    updates, p = stream.normal(size=(n, 3)), stream.dirichlet(np.ones(n))
    graph = collaboration_graph(torch.from_numpy(updates), torch.from_numpy(p), alpha).numpy()
    assert (graph >= 0).all()
    assert graph.sum(axis=1) == pytest.approx(np.ones(n), abs=1e-12)
    unit = updates / np.linalg.norm(updates, axis=1, keepdims=True)
    d = np.where(unit @ unit.T > 0.9, -1.0, -unit @ unit.T)
    for row, distances in zip(graph, d, strict=True):
        cost = lambda a, distances=distances: a @ distances + alpha * ((a - p) ** 2).sum()  # noqa: E731
        total = {"type": "eq", "fun": lambda a: a.sum() - 1}
        found = minimize(cost, np.full(n, 1 / n), bounds=[(0, 1)] * n, constraints=[total], method="SLSQP")
        assert cost(row) <= found.fun + 1e-6
        assert row == pytest.approx(found.x, abs=1e-2 / alpha)


def test_graph_by_hand() -> None:
    # Cosines of (1, 0), (1, 0.1), (0, 2): 0.995 > 0.9 counts as 1; 0; 0.0995. With p = 1/3 and alpha = 1:
    #   row 0: 1/3 + (1/2, 1/2, 0) = (5/6, 5/6, 1/3), shifted by -1/3 to sum 1: (1/2, 1/2, 0)
    #   row 2: 1/3 + (0, 0.04975, 1/2) = (0.3333, 0.3831, 0.8333): shift -0.18325: (0.15008, 0.19983, 0.65008)
    updates = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 2.0]], dtype=torch.float64)
    graph = collaboration_graph(updates, torch.full((3,), 1 / 3, dtype=torch.float64), 1.0)
    assert graph[0].tolist() == pytest.approx([0.5, 0.5, 0.0], abs=1e-12)
    assert graph[2].tolist() == pytest.approx([0.15008, 0.19983, 0.65008], abs=1e-4)


def test_a_small_alpha_keeps_to_the_most_similar_and_a_client_that_stood_still_to_itself() -> None:
    updates = torch.tensor([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0], [0.0, 0.0]])
    graph = collaboration_graph(updates, torch.full((4,), 0.25), 1e-4)
    assert graph.tolist() == [[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize("alpha", [1e15, float("inf")])
def test_a_large_alpha_without_regulariser_is_fedavg(world, weights_of, assert_equal, served, alpha: float) -> None:
    # To 1e-12 and not bit for bit: the projection shifts p by what rounding leaves of 1 - sum p.
    x, y = world.private[1]
    world.private[1] = (x[:2], y[:2])
    world.start = [world.start[0].copy() for _ in range(3)]
    averaged = world.run("fedavg")
    graphed = finished(world, alpha=alpha, regulariser_weight=0.0)
    assert_equal(weights_of(graphed), weights_of(averaged))
    assert_equal([served(deployed(graphed, 2))], [served(deployed(averaged, 2))])


def test_no_weight_is_no_regulariser_bit_for_bit(world) -> None:
    world.start = [world.start[0].copy() for _ in range(3)]
    first, second = finished(world, regulariser_weight=0.0), finished(world, regulariser="off")
    for name, tensor in first.client_weights()["linear"].items():
        assert (tensor == second.client_weights()["linear"][name]).all()


def test_planted_groups_make_a_block_graph(world) -> None:
    x = np.array([[1.0, -2.0], [-1.0, 2.0], [2.0, -1.0]])
    world.private = [(x, np.array([0, 1, 0]) if client % 2 == 0 else np.array([1, 0, 1])) for client in range(6)]
    world.start = [world.start[0].copy() for _ in range(6)]
    run = finished(world)
    same = np.arange(6)[:, None] % 2 == np.arange(6) % 2
    assert run.method.graph.numpy() == pytest.approx(same / 3, abs=1e-12)
    *_, row = [row.values for row in run.rounds()]
    assert row["graph_self_weight"] == pytest.approx(1 / 3)
    assert row["graph_entropy"] == pytest.approx(np.log(3))


def test_the_head_alone_may_be_compared(world) -> None:
    world.model = "mlp-2"
    run = world.build("pfedgraph", similarity="head")
    start = run.method.start
    tree = {name: torch.cat([tensor, tensor]) for name, tensor in start.items()}
    tree["body.1.bias"][1] += 5.0
    assert (run.method.updates(tree) == 0).all()
    tree["head.bias"][1] += 2.0
    assert run.method.updates(tree).shape == (2, 9)
    assert run.method.updates(tree)[1].sum() == 6.0  # three classes
    everything = world.build("pfedgraph")
    assert everything.method.updates(tree).shape == (2, 15)
    assert everything.method.updates(tree)[1].sum() == 6.0 + 10.0


def test_batchnorm_statistics_are_averaged_but_neither_compared_nor_attractors(normed_world) -> None:
    # 35 trained numbers; 8 statistics of 8 bytes and a counter of 8
    run = finished(normed_world)
    tree, graph = run.client_weights()["mlp-4"], run.method.graph
    assert run.method.updates(tree).shape == (3, 35)
    assert torch.allclose(run.method.models["body.1.running_mean"], graph @ tree["body.1.running_mean"], rtol=1e-12)
    *_, row = [row.values for row in run.rounds()]
    assert row["bytes_down"] == 3 * (35 + 8 + 1 + 35) * 8


@pytest.mark.parametrize(("regulariser", "models"), [("attract", 2), ("off", 1)])
def test_bytes(world, moves_as_planned, regulariser: str, models: int) -> None:
    world.start = [world.start[0].copy() for _ in range(3)]
    run = finished(world, regulariser=regulariser)  # 9 numbers of 8 bytes for 3 clients, and up their sizes
    assert [row.values["bytes_up"] for row in run.rounds()] == [216 + 24] * 3
    assert [row.values["bytes_down"] for row in run.rounds()] == [0, 216 * models, 216 * models]
    assert moves_as_planned(run)


def test_those_who_stay_away_keep_what_they_were_sent(world) -> None:
    world.start = [world.start[0].copy() for _ in range(3)]
    world.rounds, world.options = 5, {"participation": 0.67}
    run = world.build("pfedgraph", alpha=0.1)
    run.method.setup(run.federation)
    before = torch.from_numpy(np.stack([model.b for model in world.start]))
    for row in run.rounds():
        index = row.values["round"]
        now, drawn = deployed(run, index).weights["head.bias"].clone(), run.participants(index)
        assert run.method.graph.shape == (2, 2)
        assert torch.allclose(run.method.graph.sum(dim=1), torch.ones(2, dtype=torch.float64))
        for client in range(3):
            assert (now[client] != before[client]).any() == (client in drawn)
        before = now
    assert run.facts()["views"] == ["+local", "aggregated"]


@pytest.mark.parametrize("wrong", [{"alpha": 0.0}, {"regulariser_weight": -1.0}])
def test_impossible_settings_are_refused(wrong) -> None:
    with pytest.raises(ConfigError, match=f"pfedgraph.{next(iter(wrong))}"):
        PFedGraphConfig(**wrong)
