"""FedProto against a two-layer net in NumPy, and its null settings."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fl_bench.errors import ConfigError
from fl_bench.federation.rounds import Round
from fl_bench.methods.contract import client_facts
from fl_bench.methods.fedproto import FedProtoConfig


def pull(net, x: np.ndarray, y: np.ndarray, g: np.ndarray, weight: float, lr: float) -> None:
    """One full-batch step on CE + weight * MSE(z, g_y), whose slope in z is 2 * (z - g_y) / (samples * 4)."""
    z = net.features(x)
    p = np.exp(net.logits(x))
    slope = (p / p.sum(axis=1, keepdims=True) - np.eye(3)[y]) / len(x)
    through = (slope @ net.head + weight * 2 * (z - g[y]) / z.size) * (z > 0)
    net.head, net.head_bias = net.head - lr * slope.T @ z, net.head_bias - lr * slope.sum(axis=0)
    net.body, net.body_bias = net.body - lr * through.T @ x, net.body_bias - lr * through.sum(axis=0)


def prototypes_of(net, x: np.ndarray, y: np.ndarray) -> dict[int, np.ndarray]:
    return {c: net.features(x)[y == c].mean(axis=0) for c in set(y.tolist())}


def last(run) -> tuple:
    rnd = Round(run.training.rounds - 1, 0, run.federation)
    return run.client_cohort("mlp-4", range(run.data.clients), rnd), rnd


@pytest.mark.parametrize("weights", ["uniform", "size"])
def test_three_rounds_against_numpy(deep_world, two_layers, steps_of_client, weights: str) -> None:
    weight = 3.0
    run = deep_world.build("fedproto", prototype_weight=weight, weights=weights)
    nets, g = two_layers(run), None
    for _ in run.rounds():
        pass
    for _ in range(3):
        found: list[dict[int, np.ndarray]] = []
        for i, (x, y) in enumerate(deep_world.private):
            if g is None:
                nets[i].train(x, y, deep_world.lr, steps_of_client(i, deep_world.epochs))
            else:
                for _ in range(steps_of_client(i, deep_world.epochs)):
                    pull(nets[i], x, y, g, weight, deep_world.lr)
            found.append(prototypes_of(nets[i], x, y))
        g = np.zeros((3, 4))
        for c in range(3):
            have = [i for i in range(3) if c in found[i]]
            counts = [(deep_world.private[i][1] == c).sum() if weights == "size" else 1 for i in have]
            if have:
                g[c] = np.average([found[i][c] for i in have], axis=0, weights=counts)
    assert two_layers(run) == nets
    assert run.method.g.values[0].numpy() == pytest.approx(g, abs=1e-12)
    assert np.abs(g).max() > 0.1


def test_no_pull_is_local_only_bit_for_bit(deep_world, same_bits) -> None:
    local, free = deep_world.run("local"), deep_world.run("fedproto", prototype_weight=0.0)
    assert same_bits(local.client_weights()["mlp-4"], free.client_weights()["mlp-4"])
    clients, rnd = last(free)
    head, (alone, now) = free.method.views(clients, rnd)["head"], last(local)
    assert same_bits(head.weights, local.method.deployed(alone, now).weights)
    pulled = deep_world.run("fedproto", prototype_weight=1.0)
    assert not same_bits(local.client_weights()["mlp-4"], pulled.client_weights()["mlp-4"])


@pytest.mark.parametrize(("weights", "counts"), [("uniform", 0), ("size", 3 * 4)])
def test_only_classes_that_are_there_travel(deep_world, weights: str, counts: int) -> None:
    # Clients hold {0, 1}, {2} and {1}: nothing else goes up, and all three classes come down; 4 features of 8 bytes,
    # and a byte each way for the bits of three classes.
    run = deep_world.build("fedproto", weights=weights)
    for row in run.rounds():
        held = [len(set(y.tolist())) for _, y in deep_world.private]
        assert [client["bytes_up"] for client in row.clients] == [32 * n + counts + 1 for n in held]
        assert [client["bytes_down"] for client in row.clients] == [0 if row.values["round"] == 0 else 3 * 32 + 1] * 3
    assert run.method.plan(client_facts(run)).up_bytes == 32 * 2 + counts + 1


def test_a_class_that_nobody_has_this_round_keeps_its_prototype(deep_world) -> None:
    deep_world.rounds, deep_world.options = 6, {"participation": 0.34}
    run = deep_world.build("fedproto")
    before, seen = run.method.g, set()
    for row in run.rounds():
        (client,) = run.participants(row.values["round"])
        classes = set(deep_world.private[client][1].tolist())
        seen |= classes
        assert run.method.g.present[0].tolist() == [c in seen for c in range(3)]
        sent = run.client_cohort("mlp-4", [client], Round(0, 0, run.federation)).prototypes().values
        for c in range(3):
            expected = sent if c in classes else before.values
            assert run.method.g.values[0, c].tolist() == pytest.approx(expected[0, c].tolist(), abs=1e-12)
        before = run.method.g
    assert len(seen) == 3


def test_views_are_the_nearest_prototype_and_the_own_head(deep_world) -> None:
    run = deep_world.run("fedproto")
    assert run.facts()["deployed"] == "prototype"
    assert run.facts()["views"] == ["head", "prototype"]
    clients, rnd = last(run)
    assert torch.equal(run.method.deployed(clients, rnd).weights["prototypes"][1], run.method.g.values[0])


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"fedproto\.prototype_weight"):
        FedProtoConfig(prototype_weight=-1.0)
