"""FedProx against NumPy: a sum of squares, the received model as anchor, and its two limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fl_bench.benchmarks.grid.configure import plain
from fl_bench.errors import ConfigError, Unsupported
from fl_bench.federation.batches import Batch
from fl_bench.federation.models.build import build_net
from fl_bench.federation.rounds import Round
from fl_bench.methods.fedprox import FedProx, FedProxConfig
from fl_bench.methods.losses import cross_entropy
from fl_bench.streams import numpy_stream


@pytest.mark.parametrize("weights", ["size", "uniform"])
def test_three_rounds_against_numpy(deep_world, two_layers, steps_of_client, weights) -> None:
    # The gradient of mu/2 * ||theta - w||^2 is mu * (theta - w), with w what the client received.
    nets = two_layers(deep_world.build("fedprox"))
    run = deep_world.run("fedprox", mu=0.7, weights=weights)
    w = nets[0]
    for _ in range(deep_world.rounds):
        for client, (x, y) in enumerate(deep_world.private):
            net = w.copy()
            for _ in range(steps_of_client(client, deep_world.epochs)):
                net = net.at(net.vector - deep_world.lr * (net.gradient(x, y) + 0.7 * (net.vector - w.vector)))
            nets[client] = net
        w = type(w).mean(nets, [3, 2, 1] if weights == "size" else [1, 1, 1])
    assert two_layers(run) == nets
    rnd = Round(2, 0, run.federation)
    clients = run.client_cohort("mlp-4", range(3), rnd)
    assert two_layers(run.method.deployed(clients, rnd).weights) == [w]
    assert two_layers(run.method.views(clients, rnd)["+local"].weights) == nets


def test_squares_are_summed_over_all_parameters() -> None:
    # 2 * 4 + 4 + 4 * 3 + 3 = 27 parameters, each 2 away: mu/2 * 27 * 4 = 5.4 for mu = 0.1 (a mean: 0.2).
    model = build_net("mlp-4", (2,), 3, key=1)
    w = {name: parameter.detach() - 2 for name, parameter in model.named_parameters()}
    batch = Batch(torch.tensor([[1.0, -2.0]]), torch.tensor([2]), extra={"w": w})
    term = FedProx(FedProxConfig(mu=0.1)).proximal_loss(model, batch) - cross_entropy(model, batch)
    assert term.item() == pytest.approx(5.4, rel=1e-6)


@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1}])
def test_mu_0_is_fedavg_bit_for_bit(deep_world, same_bits, options) -> None:
    deep_world.options = options
    run, fedavg = deep_world.run("fedprox", mu=0.0), deep_world.run("fedavg")
    assert same_bits(run.client_weights()["mlp-4"], fedavg.client_weights()["mlp-4"])
    assert same_bits(run.method.w, fedavg.method.w)
    assert not same_bits(deep_world.run("fedprox").method.w, fedavg.method.w)


def test_a_strong_spring_holds_w_in_place(deep_world, two_layers) -> None:
    # After many steps theta - w is about -g/mu, however many they are (lr * mu = 0.9 < 1); FedAvg goes on moving.
    deep_world.rounds, deep_world.epochs, deep_world.lr = 1, 60, 9e-4
    (start, *_) = two_layers(deep_world.build("fedavg"))
    held, free = (
        np.abs(two_layers(deep_world.run(name, **settings).method.w)[0].vector - start.vector).max()
        for name, settings in (("fedprox", {"mu": 1e3}), ("fedavg", {}))
    )
    assert 0 < held < free / 30


def test_buffers_have_no_spring(normed_world) -> None:
    run = normed_world.run("fedprox")
    weights = run.client_weights()["mlp-4"]
    torch.testing.assert_close(
        run.method.w["body.1.running_mean"][0], weights["body.1.running_mean"].mean(dim=0), rtol=0, atol=1e-15
    )
    assert weights["body.1.num_batches_tracked"].tolist() == [6, 6, 6]


# --- stragglers


def epochs_by_hand(clients: list[int], fraction: float, full: int, index: int) -> list[int]:
    """Epochs of each client: those with the smallest lots do 1 to full - 1."""
    streams = [numpy_stream(0, "stragglers", client, index) for client in clients]
    lots = np.array([stream.random() for stream in streams])
    slow = np.argsort(lots)[: round(fraction * len(clients))]
    return [int(stream.integers(1, full)) if i in slow else full for i, stream in enumerate(streams)]


@pytest.mark.parametrize("stragglers", [0.34, 0.67, 1.0])
def test_stragglers_do_fewer_epochs_against_numpy(deep_world, two_layers, steps_of_client, stragglers: float) -> None:
    # One, two or all three of three clients; what they reach counts by size like the rest.
    deep_world.epochs, deep_world.rounds = 4, 5
    nets = two_layers(deep_world.build("fedprox"))
    run = deep_world.build("fedprox", mu=0.7, stragglers=stragglers)
    rows, w, seen = list(run.rounds()), nets[0], []
    for t, row in enumerate(rows):
        seen.append(epochs_by_hand([0, 1, 2], stragglers, 4, t))
        assert sum(epochs < 4 for epochs in seen[-1]) == round(stragglers * 3)
        steps = [steps_of_client(client, epochs) for client, epochs in enumerate(seen[-1])]
        assert row.values["steps_local"] == sum(steps)
        for client, (x, y) in enumerate(deep_world.private):
            net = w.copy()
            for _ in range(steps[client]):
                net = net.at(net.vector - deep_world.lr * (net.gradient(x, y) + 0.7 * (net.vector - w.vector)))
            nets[client] = net
        w = type(w).mean(nets, [3, 2, 1])
    assert two_layers(run) == nets
    assert len({tuple(epochs) for epochs in seen}) > 1  # drawn afresh every round


def test_stragglers_are_some_of_those_who_take_part(deep_world) -> None:
    # Two of three a round, one of them slow: with two epochs a straggler does one.
    deep_world.epochs, deep_world.rounds, deep_world.options = 2, 8, {"participation": 0.67}
    run = deep_world.build("fedprox", stragglers=0.5)
    slow = set()
    for t, _ in enumerate(run.rounds()):
        clients = run.client_cohort("mlp-4", run.participants(t), Round(t, 0, run.federation))
        groups = run.method.work(clients, Round(t, 0, run.federation))
        assert {epochs: len(members) for epochs, members in groups.items()} == {1: 1, 2: 1}
        slow.add(clients.ids[groups[1][0]])
    assert slow == {0, 1, 2}


def test_where_everyone_does_one_epoch_nobody_can_do_fewer(deep_world) -> None:
    deep_world.epochs = 1
    with pytest.raises(Unsupported, match=r"stragglers.*training\.local_epochs is 1"):
        deep_world.run("fedprox", stragglers=0.5)
    deep_world.run("fedprox")


def test_without_stragglers_they_are_no_part_of_a_cells_key() -> None:
    assert plain(FedProxConfig()) == {"mu": 0.1, "weights": "size"}
    assert plain(FedProxConfig(stragglers=0.5))["stragglers"] == 0.5


@pytest.mark.parametrize("wrong", [{"mu": -0.1}, {"stragglers": -0.1}, {"stragglers": 1.1}])
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=rf"fedprox\.{next(iter(wrong))}"):
        FedProxConfig(**wrong)
