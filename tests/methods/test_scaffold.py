"""SCAFFOLD against NumPy with both options, and what its control variates must be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fl_bench.errors import ConfigError
from fl_bench.federation.rounds import Round
from fl_bench.methods import scaffold
from fl_bench.methods.scaffold import ScaffoldConfig


def controls(run):
    """Control variates of all clients, name to (clients, ...)."""
    (architecture,) = set(run.architectures)
    return run.client_models(architecture).kept["control"]


@pytest.mark.parametrize("option", ["I", "II"])
def test_one_round_by_hand(world, option) -> None:
    # As in the hand-derived round of FedAvg: from 0, dL/db is (-2/3, 1/3, 1/3) at client 0, which has one sample of
    # class 0, and (1/3, -2/3, 1/3) at client 1, which has three of class 1. With one step from w both options make the
    # gradient at w the new control variate, so c is the mean of the two: (-1/6, -1/6, 1/3), and
    # b = -0.3 * c = (0.05, 0.05, -0.1): every client counts the same.
    world.private = [(np.array([[2.0, -1.0]]), np.array([0])), (np.array([[-1.0, 0.0]] * 3), np.array([1, 1, 1]))]
    world.start = [type(model)(0 * model.w, 0 * model.b) for model in world.start[:2]]
    world.rounds, world.epochs = 1, 1
    run = world.run("scaffold", lr=0.3, option=option)
    third = 1 / 3
    assert controls(run)["head.bias"].tolist() == [
        pytest.approx([-2 * third, third, third], abs=1e-12),
        pytest.approx([third, -2 * third, third], abs=1e-12),
    ]
    assert run.method.c["head.bias"][0].tolist() == pytest.approx([-third / 2, -third / 2, third], abs=1e-12)
    assert run.method.w["head.bias"][0].tolist() == pytest.approx([0.05, 0.05, -0.1], abs=1e-12)


@pytest.mark.parametrize("participation", [1.0, 0.7])
@pytest.mark.parametrize(("option", "server_lr"), [("I", 1.0), ("II", 1.0), ("II", 0.6)])
def test_against_numpy(deep_world, two_layers, steps_of_client, option, server_lr, participation) -> None:
    # The clients take 2, 2 and 1 steps; the run's own optimizer (momentum, another rate) has no part in it.
    world, lr = deep_world, 0.2
    world.rounds, world.options = 4, {"participation": participation, "momentum": 0.9}
    nets = two_layers(world.build("scaffold"))
    run = world.run("scaffold", option=option, lr=lr, server_lr=server_lr)
    w, c, own = nets[0], 0 * nets[0].vector, [0 * net.vector for net in nets]
    for index in range(world.rounds):
        drawn, moves, changes = run.participants(index), [], []
        assert len(drawn) == (3 if participation == 1 else 2)
        for client in drawn:
            (x, y), net, steps = world.private[client], w.copy(), steps_of_client(client, world.epochs)
            for _ in range(steps):
                net = net.at(net.vector - lr * (net.gradient(x, y) - own[client] + c))
            mean_gradient = (w.vector - net.vector) / (steps * lr) + own[client] - c
            new = w.gradient(x, y) if option == "I" else mean_gradient
            moves.append(net.vector - w.vector)
            changes.append(new - own[client])
            own[client], nets[client] = new, net
        w = w.at(w.vector + server_lr * np.mean(moves, axis=0))
        c = c + len(drawn) / 3 * np.mean(changes, axis=0)
    assert two_layers(run) == nets
    assert two_layers(run.method.w) == [w]
    assert two_layers(run.method.c) == [w.at(c)]
    assert two_layers(dict(controls(run))) == [w.at(vector) for vector in own]
    rnd = Round(world.rounds - 1, 0, run.federation)
    clients = run.client_cohort("mlp-4", range(3), rnd)
    assert two_layers(run.method.deployed(clients, rnd).weights) == [w]
    assert two_layers(run.method.views(clients, rnd)["+local"].weights) == nets


@pytest.mark.parametrize("option", ["I", "II"])
def test_c_is_the_mean_control_variate_when_all_take_part(deep_world, option) -> None:
    run = deep_world.build("scaffold", option=option)
    for _ in run.rounds():
        for name, tensor in run.method.c.items():
            torch.testing.assert_close(tensor[0], controls(run)[name].mean(dim=0), rtol=0, atol=1e-12)
            assert tensor.abs().max() > 0


def test_without_control_variates_it_is_fedavg(deep_world, two_layers, monkeypatch) -> None:
    # To 1e-12 only: w + mean(theta - w) is rounded more often than mean(theta).
    monkeypatch.setattr(scaffold, "inner_product", lambda model, direction: 0.0)
    run = deep_world.run("scaffold", lr=deep_world.lr)
    monkeypatch.undo()
    fedavg = deep_world.run("fedavg", weights="uniform")
    assert two_layers(run) == two_layers(fedavg)
    assert two_layers(run.method.w) == two_layers(fedavg.method.w)
    assert two_layers(run) != two_layers(deep_world.run("scaffold", lr=deep_world.lr))


@pytest.mark.parametrize("option", ["I", "II"])
def test_clients_that_are_alike_need_no_correction(deep_world, two_layers, option) -> None:
    # Then c_i = c at all times, and the corrections cancel.
    deep_world.private = [deep_world.private[0]] * 3
    run = deep_world.run("scaffold", lr=deep_world.lr, option=option)
    assert two_layers(run.method.w) == two_layers(deep_world.run("fedavg").method.w)


@pytest.mark.parametrize("option", ["I", "II"])
def test_buffers_are_averaged_and_have_no_control_variate(normed_world, option) -> None:
    run = normed_world.run("scaffold", option=option, server_lr=0.5)
    weights = run.client_weights()["mlp-4"]
    for name in ("body.1.running_mean", "body.1.running_var"):
        torch.testing.assert_close(run.method.w[name][0], weights[name].mean(dim=0), rtol=0, atol=1e-15)
        assert name not in run.method.c
    assert run.method.w["body.1.num_batches_tracked"].tolist() == [6]  # two batches in each of three rounds
    assert set(controls(run)) == set(run.method.c) == set(run.client_models("mlp-4").parameters)


def test_both_parts_travel_both_ways(deep_world, moves_as_planned) -> None:
    run = deep_world.run("scaffold")
    assert moves_as_planned(run)
    row = list(run.rounds())[1]
    assert [(client["bytes_up"], client["bytes_down"]) for client in row.clients] == [(2 * 27 * 8,) * 2] * 3
    assert (run.facts()["deployed"], run.facts()["views"]) == ("global", ["+local", "global"])


@pytest.mark.parametrize("wrong", [{"lr": 0.0}, {"server_lr": -1.0}])
def test_impossible_settings_are_refused(wrong) -> None:
    with pytest.raises(ConfigError, match=rf"scaffold\.{next(iter(wrong))}"):
        ScaffoldConfig(**wrong)
