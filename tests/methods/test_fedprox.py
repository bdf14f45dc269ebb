"""FedProx against NumPy: a sum of squares, the received model as anchor, and its two limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fl_bench.errors import ConfigError
from fl_bench.federation.batches import Batch
from fl_bench.federation.models.build import build_net
from fl_bench.federation.rounds import Round
from fl_bench.methods.fedprox import FedProx, FedProxConfig
from fl_bench.methods.losses import cross_entropy


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


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"fedprox\.mu"):
        FedProxConfig(mu=-0.1)
