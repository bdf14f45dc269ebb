"""FedTGP's margin and loss by hand, its server against loops over pairs and classes, and its null settings."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from fl_bench.errors import ConfigError
from fl_bench.federation.batches import Batch, positions
from fl_bench.federation.payloads import Prototypes
from fl_bench.federation.rounds import Round
from fl_bench.methods.fedtgp import FedTGPConfig, margin_contrast, widest_gap
from fl_bench.methods.prototype_nets import TrainablePrototypes
from fl_bench.streams import numpy_stream

LR = 0.05


def finished(run):
    for _ in run.rounds():
        pass
    return run


def test_the_margin_by_hand() -> None:
    # (0, 0), (3, 4), (3, 5): the nearest others are 5, 1 and 1 away; the class that nobody has does not count
    values = torch.tensor([[[0.0, 0.0], [3.0, 4.0], [3.0, 5.0], [0.0, 0.1]]])
    assert widest_gap(Prototypes(values, torch.tensor([[True, True, True, False]]))).item() == pytest.approx(5.0)
    assert widest_gap(Prototypes(values, torch.tensor([[False, False, True, False]]))).item() == math.inf


@pytest.mark.parametrize(("margin", "loss"), [(2.0, math.log1p(math.exp(6))), (0.0, math.log1p(math.exp(4)))])
def test_the_contrast_by_hand(margin: float, loss: float) -> None:
    # q = (0, 0) of class 0, prototypes (3, 4) and (0, 1): logits -(5 + margin) and -1. Without margin it is plain
    # cross-entropy on negative distances.
    batch = Batch(torch.zeros(1, 2), target=torch.tensor([0]), extra={"margin": torch.tensor(margin)})
    generator = TrainablePrototypes(2, 2, key=0)
    generator.perceptron = nn.Identity()
    generator.table.data = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    assert margin_contrast(generator, batch).item() == pytest.approx(loss)


def one_class_each(world) -> None:
    """Clients of the classes 2, 0 and 0: three pairs, which make one batch in any order."""
    for client, label in enumerate([2, 0, 0]):
        x, y = world.private[client]
        world.private[client] = (x, np.full(len(y), label))


@pytest.mark.parametrize(("threshold", "alone"), [(100.0, True), (0.01, True), (100.0, False)])
def test_three_rounds_against_numpy_and_loops(
    deep_world, two_layers, steps_of_client, threshold: float, alone: bool
) -> None:
    # With a class a client, the three pairs are one batch. Else clients have the classes 0 and 1, 2, and 1: four pairs
    # in batches of 3 are ceil(3 epochs * 4 / 3) = 4 steps, in the order of a stream of the server's own.
    if alone:
        one_class_each(deep_world)
    weight, pairs, steps = 2.0, 3 if alone else 4, 3 if alone else 4
    run = deep_world.build("fedtgp", prototype_weight=weight, margin_threshold=threshold, server_epochs=3, server_lr=LR)
    nets, initial = two_layers(run), run.method.server.weights
    rows = [row.values for row in run.rounds()]
    table = initial["table"][0].requires_grad_()
    layers = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)).double()
    layers.load_state_dict({name.partition(".")[2]: tensor[0] for name, tensor in initial.items() if name != "table"})
    trained = [table, *layers.parameters()]
    g = None
    for index in range(3):
        q, classes = [], []
        for i, (x, y) in enumerate(deep_world.private):
            for _ in range(steps_of_client(i, deep_world.epochs)):
                step(nets[i], x, y, g, weight, deep_world.lr)
            for label in np.unique(y):
                q.append(nets[i].features(x[y == label]).mean(axis=0))
                classes.append(label)
        gap = widest(np.array(q), np.array(classes))
        margin = min(gap, threshold)
        assert rows[index]["margin"] == pytest.approx(margin, abs=1e-9)
        assert (gap > threshold) == (threshold == 0.01)
        for batch in positions(pairs, steps, 3, numpy_stream(0, "prototypes", index)):
            made, losses = layers(table), []
            for pair in batch:
                feature, own = torch.from_numpy(q[pair]), classes[pair]
                away = [(feature - made[c]).norm() + margin * (c == own) for c in range(3)]
                losses.append(away[own] + torch.logsumexp(-torch.stack(away), dim=0))
            for parameter, slope in zip(trained, torch.autograd.grad(sum(losses) / 3, trained), strict=True):
                parameter.data -= LR * slope
        g = layers(table).detach().numpy()
    assert [row["steps_server"] for row in rows] == [steps] * 3
    assert two_layers(run) == nets
    assert run.method.prototypes().values[0].numpy() == pytest.approx(g, abs=1e-11)
    assert run.method.prototypes().present.all()


def widest(q: np.ndarray, classes: np.ndarray) -> float:
    """The largest distance of a class's mean to the nearest mean of another class."""
    means = {label: q[classes == label].mean(axis=0) for label in np.unique(classes)}
    return max(min(np.linalg.norm(means[c] - means[other]) for other in means if other != c) for c in means)


def step(net, x: np.ndarray, y: np.ndarray, g: np.ndarray | None, weight: float, lr: float) -> None:
    """One full-batch step on CE + weight * MSE(z, g_y), whose slope in z is 2 * (z - g_y) / (samples * 4)."""
    z = net.features(x)
    p = np.exp(net.logits(x))
    slope = (p / p.sum(axis=1, keepdims=True) - np.eye(3)[y]) / len(x)
    pull = 0 * z if g is None else weight * 2 * (z - g[y]) / z.size
    through = (slope @ net.head + pull) * (z > 0)
    net.head, net.head_bias = net.head - lr * slope.T @ z, net.head_bias - lr * slope.sum(axis=0)
    net.body, net.body_bias = net.body - lr * through.T @ x, net.body_bias - lr * through.sum(axis=0)


def test_one_class_alone_has_the_threshold_as_margin(deep_world) -> None:
    for client in range(3):
        x, y = deep_world.private[client]
        deep_world.private[client] = (x, 0 * y)
    rows = [row.values for row in deep_world.build("fedtgp", margin_threshold=7.5, server_epochs=1).rounds()]
    assert [row["margin"] for row in rows] == [7.5] * 3


def test_no_pull_is_local_only_bit_for_bit(deep_world, same_bits) -> None:
    local, free = deep_world.run("local"), deep_world.run("fedtgp", prototype_weight=0.0, server_epochs=1)
    assert same_bits(local.client_weights()["mlp-4"], free.client_weights()["mlp-4"])
    pulled = deep_world.run("fedtgp", prototype_weight=1.0, server_epochs=1)
    assert not same_bits(local.client_weights()["mlp-4"], pulled.client_weights()["mlp-4"])


def test_no_server_epochs_leave_the_prototypes_as_they_were(deep_world) -> None:
    run = deep_world.build("fedtgp", server_epochs=0)
    before = run.method.prototypes().values
    assert torch.equal(finished(run).method.prototypes().values, before)


def test_bytes(deep_world) -> None:
    # 4 features of 8 bytes: up for each class held, down for all three; a byte has the bits of three classes
    for row in deep_world.build("fedtgp", server_epochs=1).rounds():
        held = [len(set(y.tolist())) for _, y in deep_world.private]
        assert [client["bytes_up"] for client in row.clients] == [32 * n + 1 for n in held]
        assert [client["bytes_down"] for client in row.clients] == [0 if row.values["round"] == 0 else 97] * 3


def test_views_are_the_nearest_prototype_and_the_own_head(deep_world) -> None:
    run = finished(deep_world.build("fedtgp", server_epochs=1))
    assert run.facts()["deployed"] == "prototype"
    assert run.facts()["views"] == ["head", "prototype"]
    rnd = Round(2, 0, run.federation)
    clients = run.client_cohort("mlp-4", range(3), rnd)
    assert torch.equal(run.method.deployed(clients, rnd).weights["prototypes"][1], run.method.prototypes().values[0])
    assert torch.equal(run.method.views(clients, rnd)["head"].weights["head.bias"], clients.weights["head.bias"])


@pytest.mark.parametrize(
    "wrong", [{"prototype_weight": -1.0}, {"margin_threshold": -1.0}, {"server_epochs": -1}, {"server_lr": 0.0}]
)
def test_impossible_settings_are_refused(wrong) -> None:
    with pytest.raises(ConfigError, match=f"fedtgp.{next(iter(wrong))}"):
        FedTGPConfig(**wrong)
