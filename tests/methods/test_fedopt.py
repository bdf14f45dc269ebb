"""FedOpt against NumPy with every server optimizer, and its null setting."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fl_bench.errors import ConfigError
from fl_bench.federation.rounds import Round
from fl_bench.methods.fedopt import FedOpt, FedOptConfig


@pytest.mark.parametrize("weights", ["size", "uniform"])
@pytest.mark.parametrize("optimizer", ["adam", "yogi", "adagrad", "sgdm"])
def test_against_numpy(deep_world, two_layers, steps_of_client, optimizer, weights) -> None:
    world = deep_world
    world.rounds, world.options = 5, {"participation": 0.7}
    nets = two_layers(world.build("fedopt"))
    settings = {"server_lr": 0.3, "beta1": 0.6, "beta2": 0.8, "tau": 0.05}
    run = world.run("fedopt", optimizer=optimizer, weights=weights, **settings)
    sizes = np.array([3, 2, 1] if weights == "size" else [1, 1, 1])
    w, m, v = nets[0], 0.0, 0.05**2
    for index in range(world.rounds):
        drawn = run.participants(index)
        for client in drawn:
            nets[client] = w.copy()
            nets[client].train(*world.private[client], world.lr, steps=steps_of_client(client, world.epochs))
        delta = type(w).mean([nets[client] for client in drawn], sizes[drawn]).vector - w.vector
        if optimizer == "sgdm":
            m = 0.6 * m + delta
            w = w.at(w.vector + 0.3 * m)
            continue
        m = 0.6 * m + 0.4 * delta
        if optimizer == "adagrad":
            v = v + delta**2
        elif optimizer == "adam":
            v = 0.8 * v + 0.2 * delta**2
        else:
            v = v - 0.2 * delta**2 * np.sign(v - delta**2)
        w = w.at(w.vector + 0.3 * m / (np.sqrt(v) + 0.05))
    assert two_layers(run) == nets
    rnd = Round(world.rounds - 1, 0, run.federation)
    clients = run.client_cohort("mlp-4", range(3), rnd)
    assert two_layers(run.method.deployed(clients, rnd).weights) == [w]
    assert two_layers(run.method.views(clients, rnd)["+local"].weights) == nets


@pytest.mark.parametrize("optimizer", ["adam", "yogi", "adagrad"])
def test_two_steps_by_hand(optimizer) -> None:
    # beta1 = 0, so m = delta; beta2 = 3/4, tau = 1, so v starts at 1; server_lr = 2: a step is 2 delta / (sqrt v + 1).
    # delta = -2: adam v = 3/4 + 4/4 = 7/4, yogi v = 1 - 1/4 * 4 * sign(1 - 4) = 2, adagrad v = 1 + 4 = 5
    server = FedOpt(FedOptConfig(optimizer=optimizer, server_lr=2.0, beta1=0.0, beta2=0.75, tau=1.0))
    server.m, server.v = {}, {}
    step = server.step({"w": torch.tensor([[-2.0]], dtype=torch.float64)})["w"].item()
    v = {"adam": 7 / 4, "yogi": 2.0, "adagrad": 5.0}[optimizer]
    assert step == pytest.approx(2 * -2 / (v**0.5 + 1))
    # delta = 1: adam v = 21/16 + 1/4 = 25/16, yogi v = 2 - 1/4 * 1 * sign(2 - 1) = 7/4, adagrad v = 5 + 1 = 6
    step = server.step({"w": torch.tensor([[1.0]], dtype=torch.float64)})["w"].item()
    v = {"adam": 25 / 16, "yogi": 7 / 4, "adagrad": 6.0}[optimizer]
    assert step == pytest.approx(2 * 1 / (v**0.5 + 1))


def test_yogi_leaves_a_scale_that_fits_as_it_is() -> None:
    # delta^2 = 1 is v = tau^2 already, sign(0) = 0: v stays 1 and the step is 2 * -1 / (1 + 1).
    server = FedOpt(FedOptConfig(optimizer="yogi", server_lr=2.0, beta1=0.0, beta2=0.75, tau=1.0))
    server.m, server.v = {}, {}
    step = server.step({"w": torch.tensor([[-1.0]], dtype=torch.float64)})["w"].item()
    assert (server.v["w"].item(), step) == (1.0, -1.0)


@pytest.mark.parametrize("weights", ["size", "uniform"])
def test_plain_sgd_with_rate_1_is_fedavg(deep_world, two_layers, weights) -> None:
    # To 1e-12 only: w + (mean - w) is rounded twice more than the mean.
    run = deep_world.run("fedopt", optimizer="sgdm", server_lr=1.0, beta1=0.0, weights=weights)
    fedavg = deep_world.run("fedavg", weights=weights)
    assert two_layers(run) == two_layers(fedavg)
    assert two_layers(run.method.w) == two_layers(fedavg.method.w)


def test_buffers_are_averaged_not_optimized(normed_world) -> None:
    run = normed_world.run("fedopt")
    weights = run.client_weights()["mlp-4"]
    for name in ("body.1.running_mean", "body.1.running_var"):
        torch.testing.assert_close(run.method.w[name][0], weights[name].mean(dim=0), rtol=0, atol=1e-15)
    assert run.method.w["body.1.num_batches_tracked"].tolist() == [6]
    assert set(run.method.m) == set(run.method.v) == set(run.client_models("mlp-4").parameters)


def test_one_model_travels(deep_world, moves_as_planned) -> None:
    run = deep_world.run("fedopt")
    assert moves_as_planned(run)
    assert list(run.rounds())[1].clients[0]["bytes_up"] == (27 + 1) * 8  # the weights and the client's size
    assert (run.facts()["deployed"], run.facts()["views"]) == ("global", ["+local", "global"])


@pytest.mark.parametrize("wrong", [{"server_lr": 0.0}, {"tau": 0.0}, {"beta1": 1.0}, {"beta1": -0.1}, {"beta2": 1.0}])
def test_impossible_settings_are_refused(wrong) -> None:
    with pytest.raises(ConfigError, match=rf"fedopt\.{next(iter(wrong))}"):
        FedOptConfig(**wrong)
