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
from fl_bench.methods.contract import client_facts, finish
from fl_bench.methods.contract.worlds import recorded_and_planned
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


def epochs_by_hand(client: int, probability: float, full: int, index: int) -> int:
    """Epochs of a client in a round: with the probability 1 to full - 1, whoever else takes part."""
    stream = numpy_stream(0, "stragglers", client, index)
    return int(stream.integers(1, full)) if stream.random() < probability else full


@pytest.mark.parametrize("stragglers", [0.34, 0.67, 1.0])
def test_stragglers_do_fewer_epochs_against_numpy(deep_world, two_layers, steps_of_client, stragglers: float) -> None:
    # What they reach counts by size like the rest.
    deep_world.epochs, deep_world.rounds = 4, 5
    nets = two_layers(deep_world.build("fedprox"))
    run = deep_world.build("fedprox", mu=0.7, stragglers=stragglers)
    rows, w, seen = list(run.rounds()), nets[0], []
    for t, row in enumerate(rows):
        seen.append([epochs_by_hand(client, stragglers, 4, t) for client in range(3)])
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
    slow = [sum(epochs < 4 for epochs in row) for row in seen]
    assert slow == [3] * 5 if stragglers == 1 else len(set(slow)) > 1  # no fixed number of them


def test_a_client_is_a_straggler_whoever_else_takes_part(deep_world) -> None:
    deep_world.epochs = 4
    run = deep_world.build("fedprox", stragglers=0.5)
    for t in range(12):
        rnd = Round(t, 0, run.federation)
        expected = {client: epochs_by_hand(client, 0.5, 4, t) for client in range(3)}
        for there in ([0, 1, 2], [0, 2], [1], [2]):
            groups = run.method.work(run.client_cohort("mlp-4", there, rnd), rnd)
            found = {there[member]: epochs for epochs, members in groups.items() for member in members}
            assert found == {client: expected[client] for client in there}


def test_planned_steps_are_expected_values(deep_world) -> None:
    # Steps of 1, 2, 3 and 4 epochs are 1, 2, 3, 4 for three samples, 1, 2, 2, 3 for two and 1, 1, 1, 2 for one, each of
    # the first three with 0.2 and the last with 0.4: 1.2 + 1.6, 1.0 + 1.2 and 0.6 + 0.8 are 6.4 a round.
    deep_world.epochs, deep_world.rounds = 4, 5
    run = deep_world.build("fedprox", stragglers=0.6)
    _, planned = recorded_and_planned(run, finish(run).rows)
    assert planned["local"] == pytest.approx(5 * 6.4)
    plan = run.method.plan(client_facts(run))
    assert plan.steps == "expected"
    assert plan.up_bytes == FedProx().plan(client_facts(run)).up_bytes
    # 1000 rounds; the variances of a round, 1.36, 0.56 and 0.24, make a standard error of 0.046.
    steps = {3: [1, 2, 3, 4], 2: [1, 2, 2, 3], 1: [1, 1, 1, 2]}
    clients = run.client_cohort("mlp-4", [0, 1, 2], Round(0, 0, run.federation))
    total = 0
    for t in range(1000):
        for epochs, members in run.method.work(clients, Round(t, 0, run.federation)).items():
            total += sum(steps[3 - member][epochs - 1] for member in members)
    assert total / 1000 == pytest.approx(6.4, abs=4 * 0.046)
    assert FedProx().plan(client_facts(run)).steps == "exact"


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
