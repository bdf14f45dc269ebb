"""FedGH against a two-layer net in NumPy, and its null settings."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fl_bench.errors import ConfigError
from fl_bench.federation.batches import positions
from fl_bench.federation.rounds import Round
from fl_bench.methods.fedgh import FedGH, FedGHConfig
from fl_bench.streams import numpy_stream

LR, MOMENTUM = 0.3, 0.5


def one_class_each(world) -> None:
    """Clients of the classes 2, 0 and 0: three pairs, which make one batch in any order."""
    for client, label in enumerate([2, 0, 0]):
        x, y = world.private[client]
        world.private[client] = (x, np.full(len(y), label))


def finished(run):
    for _ in run.rounds():
        pass
    return run


def train_head(head, bias, q, classes, batches, momentum) -> tuple[np.ndarray, np.ndarray]:
    """SGD with momentum from rest on the mean cross-entropy of head q + bias at the classes, batch by batch."""
    speed, speed_bias = np.zeros_like(head), np.zeros_like(bias)
    for pairs in batches:
        z = q[pairs]
        p = np.exp(z @ head.T + bias)
        slope = (p / p.sum(axis=1, keepdims=True) - np.eye(3)[classes[pairs]]) / len(z)
        speed, speed_bias = momentum * speed + slope.T @ z, momentum * speed_bias + slope.sum(axis=0)
        head, bias = head - LR * speed, bias - LR * speed_bias
    return head, bias


def three_rounds(world, nets, steps_of_client, batches, momentum=MOMENTUM) -> tuple[np.ndarray, np.ndarray]:
    """The server's head after three rounds that train `nets`; `batches` of round t are positions among its pairs."""
    head, bias = nets[0].head, nets[0].head_bias
    for index in range(3):
        q, classes = [], []
        for i, (x, y) in enumerate(world.private):
            if index:
                nets[i].head, nets[i].head_bias = head, bias
            nets[i].train(x, y, world.lr, steps_of_client(i, world.epochs))
            for label in np.unique(y):
                q.append(nets[i].features(x[y == label]).mean(axis=0))
                classes.append(label)
        head, bias = train_head(head, bias, np.array(q), np.array(classes), batches[index], momentum)
    return head, bias


@pytest.mark.parametrize("settings", [{}, {"server_momentum": MOMENTUM}], ids=["plain SGD", "momentum"])
def test_three_rounds_against_numpy(deep_world, two_layers, steps_of_client, settings) -> None:
    one_class_each(deep_world)
    run = deep_world.build("fedgh", server_epochs=4, server_lr=LR, **settings)
    nets = two_layers(run)
    start = nets[0].copy()
    rows = [row.values for row in run.rounds()]
    momentum = settings.get("server_momentum", 0.0)
    head, bias = three_rounds(deep_world, nets, steps_of_client, [[range(3)] * 4] * 3, momentum)
    assert two_layers(run) == nets
    assert run.method.head["head.weight"][0].numpy() == pytest.approx(head, abs=1e-12)
    assert run.method.head["head.bias"][0].numpy() == pytest.approx(bias, abs=1e-12)
    assert [row["steps_server"] for row in rows] == [4, 4, 4]
    # what all clients started from is still there
    assert run.federation.start["mlp-4"]["head.weight"][0].numpy() == pytest.approx(start.head, abs=0)


def test_batches_of_the_server_are_drawn_afresh(deep_world, two_layers, steps_of_client) -> None:
    # 2 + 1 + 1 pairs in batches of 3: ceil(5 epochs * 4 / 3) = 7 steps, in the order of a stream of the server's own
    run = deep_world.build("fedgh", server_epochs=5, server_lr=LR, server_momentum=MOMENTUM)
    nets = two_layers(run)
    assert [row.values["steps_server"] for row in run.rounds()] == [7, 7, 7]
    batches = [positions(4, 7, 3, numpy_stream(0, "header", index)) for index in range(3)]
    head, bias = three_rounds(deep_world, nets, steps_of_client, batches)
    assert run.method.head["head.weight"][0].numpy() == pytest.approx(head, abs=1e-12)
    assert run.method.head["head.bias"][0].numpy() == pytest.approx(bias, abs=1e-12)


def test_no_server_epochs_leave_the_head_as_it_was(deep_world) -> None:
    run = finished(deep_world.build("fedgh", server_epochs=0))
    for name, tensor in run.method.head.items():
        assert torch.equal(tensor, run.federation.start["mlp-4"][name])


def test_a_head_that_is_not_sent_is_local_only_bit_for_bit(deep_world, same_bits, monkeypatch) -> None:
    local, sent = deep_world.run("local"), deep_world.run("fedgh")
    assert not same_bits(local.client_weights()["mlp-4"], sent.client_weights()["mlp-4"])
    monkeypatch.setattr(FedGH, "server_update", lambda self, uploads, rnd: None)
    assert same_bits(local.client_weights()["mlp-4"], deep_world.run("fedgh").client_weights()["mlp-4"])


def test_bytes(deep_world) -> None:
    # 4 features of 8 bytes for each class held, a byte for the bits of three classes; a head of 4 * 3 + 3 numbers
    run = deep_world.build("fedgh")
    for row in run.rounds():
        held = [len(set(y.tolist())) for _, y in deep_world.private]
        assert [client["bytes_up"] for client in row.clients] == [32 * n + 1 for n in held]
        assert [client["bytes_down"] for client in row.clients] == [0 if row.values["round"] == 0 else 15 * 8] * 3


def test_views_are_the_client_and_its_body_with_the_new_head(deep_world) -> None:
    run = finished(deep_world.build("fedgh"))
    assert run.facts()["deployed"] == "client"
    assert run.facts()["views"] == ["client", "refreshed"]
    rnd = Round(2, 0, run.federation)
    clients = run.client_cohort("mlp-4", range(3), rnd)
    fresh, own = run.method.views(clients, rnd)["refreshed"], clients.weights
    assert fresh.index == (0, 1, 2)
    assert torch.equal(fresh.weights["body.1.weight"], own["body.1.weight"])
    for member in range(3):
        assert torch.equal(fresh.weights["head.bias"][member], run.method.head["head.bias"][0])


@pytest.mark.parametrize("wrong", [{"server_epochs": -1}, {"server_lr": 0.0}, {"server_momentum": -0.1}])
def test_impossible_settings_are_refused(wrong) -> None:
    with pytest.raises(ConfigError, match=f"fedgh.{next(iter(wrong))}"):
        FedGHConfig(**wrong)
