"""pFedMe against NumPy, its null settings, and what it counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fl_bench.errors import ConfigError
from fl_bench.federation.rounds import Round
from fl_bench.federation.trees import subtree
from fl_bench.methods.pfedme import PFedMeConfig


def part(run, name: str):
    return subtree(run.client_weights()["mlp-4"], name)


@pytest.mark.parametrize("participation", [1.0, 0.7])
@pytest.mark.parametrize("settings", [{"beta": 1.0, "weights": "uniform"}, {"beta": 0.4, "weights": "size"}])
def test_against_numpy(deep_world, two_layers, steps_of_client, settings, participation) -> None:
    # Three inner steps on each batch, then one outer step; theta goes on from batch to batch and starts from w in each
    # round. The run's optimizer has no part in it.
    world = deep_world
    world.rounds, world.options = 4, {"participation": participation, "momentum": 0.9}
    start = two_layers(part(world.build("pfedme"), "shared"))
    run = world.run("pfedme", lam=2.0, inner_steps=3, personal_lr=0.2, lr=0.15, decay=0.05, **settings)
    sizes = np.array([1, 1, 1] if settings["weights"] == "uniform" else [3, 2, 1])
    w, personal, shared = start[0], list(start), list(start)
    for index in range(world.rounds):
        drawn, deployed = run.participants(index), {}
        for client in range(3):  # those who are not drawn solve for their theta_i on a copy, to be scored
            (x, y), theta, own = world.private[client], w, w
            for _ in range(steps_of_client(client, world.epochs)):
                for _ in range(3):
                    slope = theta.gradient(x, y) + 2.0 * (theta.vector - own.vector) + 0.05 * theta.vector
                    theta = theta.at(theta.vector - 0.2 * slope)
                own = own.at(own.vector - 0.15 * 2.0 * (own.vector - theta.vector))
            deployed[client] = theta
            if client in drawn:
                personal[client], shared[client] = theta, own
        mean = type(w).mean([shared[client] for client in drawn], sizes[drawn])
        w = w.at((1 - settings["beta"]) * w.vector + settings["beta"] * mean.vector)
    assert two_layers(part(run, "personal")) == personal
    assert two_layers(part(run, "shared")) == shared
    rnd = Round(world.rounds - 1, 0, run.federation)
    clients = run.client_cohort("mlp-4", range(3), rnd)
    assert two_layers(run.method.deployed(clients, rnd).weights) == list(deployed.values())
    assert two_layers(part(run, "personal")) == personal
    assert two_layers(run.method.views(clients, rnd)["global"].weights) == [w]


def test_steps_of_those_who_are_not_drawn_are_counted_aside(deep_world) -> None:
    # Two of three clients a round; two epochs are 2, 2 and 1 batches, with five inner steps and an outer one each.
    deep_world.options = {"participation": 0.7}
    run = deep_world.build("pfedme")
    for row in run.rounds():
        (absent,) = {0, 1, 2} - set(run.participants(row.values["round"]))
        assert row.values["steps_aside"] == [2, 2, 1][absent] * 6
        assert row.values["steps_local"] == (5 - [2, 2, 1][absent]) * 6
    deep_world.options = {}
    assert all("steps_aside" not in row.values for row in deep_world.run("pfedme").rounds())


def test_the_outer_step_is_never_clipped(deep_world) -> None:
    # One batch with one inner step, and a limit of 0.01 on gradients: theta moves by 0.2 * 0.01 at most, and w_i goes
    # the share lr * lam = 0.3 of the way to it, although the gradient of that, 20 * 0.002, is beyond the limit.
    world = deep_world
    world.rounds, world.epochs, world.options = 1, 1, {"clip": 0.01}
    world.private = [(x[:3], y[:3]) for x, y in world.private]
    start = part(world.build("pfedme"), "shared")
    run = world.run("pfedme", lam=20.0, inner_steps=1, personal_lr=0.2, lr=0.015, decay=0.0)
    theta, w_i = part(run, "personal"), part(run, "shared")
    for client in range(3):
        moved = torch.cat([(theta[name] - start[name])[client].flatten() for name in start])
        assert moved.norm() == pytest.approx(0.2 * 0.01, rel=1e-3)
    for name, tensor in w_i.items():
        expected = start[name] + 0.3 * (theta[name] - start[name])
        torch.testing.assert_close(tensor, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("weights", ["size", "uniform"])
def test_with_one_inner_step_and_a_full_outer_step_it_is_fedavg(deep_world, two_layers, weights) -> None:
    # lr * lam = 1 makes w_i = theta_i after each batch, where the spring is slack; but w - (w - theta) is rounded.
    settings = {"inner_steps": 1, "lam": 4.0, "lr": 0.25, "decay": 0.0, "personal_lr": deep_world.lr}
    run, fedavg = deep_world.run("pfedme", weights=weights, **settings), deep_world.run("fedavg", weights=weights)
    for name in ("personal", "shared"):
        assert two_layers(part(run, name)) == two_layers(fedavg)
    assert two_layers(run.method.w) == two_layers(fedavg.method.w)


def test_without_the_spring_w_stays_where_it_is(deep_world, same_bits, two_layers) -> None:
    # The clients are then three times the same: a mean of three different models may be rounded, w_i may not move.
    start = part(deep_world.build("pfedme"), "shared")
    run = deep_world.run("pfedme", lam=0.0)
    assert same_bits(part(run, "shared"), {name: run.method.w[name].expand_as(value) for name, value in start.items()})
    assert two_layers(run.method.w) == two_layers(start)[:1]
    assert two_layers(part(run, "personal")) != two_layers(start)


def test_a_strong_spring_keeps_theta_near_w_i(deep_world, two_layers) -> None:
    # theta - w_i tends to -g/lam: for 50 times the spring it is about a fiftieth.
    deep_world.rounds, deep_world.epochs, gaps = 1, 40, []
    for lam in (2.0, 100.0):
        run = deep_world.run("pfedme", lam=lam, lr=1e-3, personal_lr=9e-3, decay=0.0)
        pairs = zip(two_layers(part(run, "personal")), two_layers(part(run, "shared")), strict=True)
        gaps.append(max(np.abs(theta.vector - w_i.vector).max() for theta, w_i in pairs))
    assert 0 < gaps[1] < gaps[0] / 20


def test_inner_steps_are_counted(deep_world) -> None:
    # Two epochs are 2, 2 and 1 batches at the clients, each with 4 inner steps and one outer step.
    for row in deep_world.run("pfedme", inner_steps=4).rounds():
        assert row.values["steps_inner"] == 5 * 4
        assert row.values["steps_local"] == 5 * (4 + 1)


def test_statistics_of_theta_travel_with_w_i(normed_world) -> None:
    # They are averaged whatever beta is; a batch has five inner steps, and there are two in each of three rounds.
    run = normed_world.run("pfedme", beta=0.5)
    tree = run.client_weights()["mlp-4"]
    for name in ("running_mean", "running_var"):
        mean = tree[f"personal.body.1.{name}"].mean(dim=0)
        torch.testing.assert_close(run.method.w[f"body.1.{name}"][0], mean, rtol=0, atol=1e-15)
    assert tree["personal.body.1.num_batches_tracked"].tolist() == [30, 30, 30]
    assert run.method.w["body.1.num_batches_tracked"].tolist() == [30]


def test_one_model_travels(deep_world, moves_as_planned) -> None:
    run = deep_world.run("pfedme")
    assert moves_as_planned(run)
    assert list(run.rounds())[1].clients[0]["bytes_up"] == (27 + 1) * 8  # the weights and the client's size
    assert (run.facts()["deployed"], run.facts()["views"]) == ("personal", ["global", "personal"])


@pytest.mark.parametrize(
    "wrong", [{"lam": -1.0}, {"inner_steps": 0}, {"personal_lr": 0.0}, {"lr": 0.0}, {"beta": 0.0}, {"decay": -0.1}]
)
def test_impossible_settings_are_refused(wrong) -> None:
    with pytest.raises(ConfigError, match=rf"pfedme\.{next(iter(wrong))}"):
        PFedMeConfig(**wrong)
