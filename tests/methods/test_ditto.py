"""Ditto against NumPy with both readings of its spring, its two limits, and newcomers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fl_bench.errors import ConfigError
from fl_bench.federation.rounds import Round
from fl_bench.federation.trees import subtree
from fl_bench.methods.ditto import DittoConfig


def part(run, name: str):
    return subtree(run.client_weights()["mlp-4"], name)


@pytest.mark.parametrize("participation", [1.0, 0.7])
@pytest.mark.parametrize(
    "settings",
    [
        {"lam": 0.6, "weights": "uniform"},
        {"lam": 0.6, "personal_epochs": 3},
        {"lam": 30.0, "proximal": "mean", "personal_epochs": 1},
    ],
)
def test_against_numpy(deep_world, two_layers, steps_of_client, settings, participation) -> None:
    # v <- v - lr * (g(v) + lam * (v - w)), lam / 27 where squares are averaged; w is what the client received.
    world = deep_world
    world.rounds, world.options = 4, {"participation": participation}
    start = two_layers(part(world.build("ditto"), "shared"))
    run = world.run("ditto", **settings)
    lam = settings["lam"] / (27 if settings.get("proximal") == "mean" else 1)
    sizes = np.array([1, 1, 1] if settings.get("weights") == "uniform" else [3, 2, 1])
    w, theta, v, begun = start[0], start, list(start), set()
    for index in range(world.rounds):
        drawn = run.participants(index)
        for client in drawn:
            x, y = world.private[client]
            theta[client] = w.copy()
            theta[client].train(x, y, world.lr, steps=steps_of_client(client, world.epochs))
            own = v[client] if client in begun else w
            for _ in range(steps_of_client(client, settings.get("personal_epochs", world.epochs))):
                own = own.at(own.vector - world.lr * (own.gradient(x, y) + lam * (own.vector - w.vector)))
            v[client] = own
            begun.add(client)
        w = type(w).mean([theta[client] for client in drawn], sizes[drawn])
    newcomers = [run.participants(index) for index in range(world.rounds)]
    assert participation == 1 or len({client for drawn in newcomers[1:] for client in drawn} - set(newcomers[0])) == 1
    assert two_layers(part(run, "personal")) == v
    assert two_layers(part(run, "shared")) == theta
    rnd = Round(world.rounds - 1, 0, run.federation)
    clients = run.client_cohort("mlp-4", range(3), rnd)
    views = run.method.views(clients, rnd)
    assert two_layers(run.method.deployed(clients, rnd).weights) == v
    assert two_layers(views["global"].weights) == [w]
    assert two_layers(views["+local"].weights) == theta


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9, "optimizer_state": "persist"}])
def test_without_the_spring_it_is_local_only_and_fedavg_bit_for_bit(deep_world, same_bits, options) -> None:
    # Also where clients keep their optimizers' moments: those of theta and v must not mix.
    deep_world.options = options
    run, fedavg = deep_world.run("ditto", lam=0.0), deep_world.run("fedavg")
    assert same_bits(part(run, "personal"), deep_world.run("local").client_weights()["mlp-4"])
    assert same_bits(part(run, "shared"), fedavg.client_weights()["mlp-4"])
    assert same_bits(run.method.w, fedavg.method.w)


def test_w_never_depends_on_v(deep_world, same_bits) -> None:
    one, other = deep_world.run("ditto", lam=0.1), deep_world.run("ditto", lam=1.5, personal_epochs=7)
    assert same_bits(one.method.w, other.method.w)
    assert not same_bits(part(one, "personal"), part(other, "personal"))


def test_a_strong_spring_draws_v_to_w(deep_world, two_layers) -> None:
    # v - w tends to -g/lam, under 1e-3 here, as long as lr * lam < 2; without a spring it is a hundred times that.
    deep_world.lr, deep_world.epochs, deep_world.rounds = 9e-4, 60, 2
    run, free = (deep_world.build("ditto", lam=lam) for lam in (1e3, 0.0))
    gaps = []
    for each in (run, free):
        rounds = each.rounds()
        next(rounds)
        received = two_layers(each.method.w)[0].vector
        next(rounds)
        gaps.append(max(np.abs(net.vector - received).max() for net in two_layers(part(each, "personal"))))
    assert 0 < gaps[0] < gaps[1] / 20


def test_each_model_has_statistics_of_its_own(normed_world) -> None:
    run = normed_world.run("ditto", personal_epochs=1)
    tree = run.client_weights()["mlp-4"]
    assert tree["shared.body.1.num_batches_tracked"].tolist() == [6, 6, 6]  # two batches in each of three rounds
    assert tree["personal.body.1.num_batches_tracked"].tolist() == [3, 3, 3]
    for name in ("running_mean", "running_var"):
        mean = tree[f"shared.body.1.{name}"].mean(dim=0)
        torch.testing.assert_close(run.method.w[f"body.1.{name}"][0], mean, rtol=0, atol=1e-15)


def test_only_the_shared_model_travels(deep_world, moves_as_planned) -> None:
    run = deep_world.run("ditto")
    assert moves_as_planned(run)
    assert list(run.rounds())[1].clients[0]["bytes_up"] == (27 + 1) * 8  # the weights and the client's size
    assert (run.facts()["deployed"], run.facts()["views"]) == ("personal", ["+local", "global", "personal"])


@pytest.mark.parametrize("wrong", [{"lam": -1.0}, {"personal_epochs": 0}])
def test_impossible_settings_are_refused(wrong) -> None:
    with pytest.raises(ConfigError, match=rf"ditto\.{next(iter(wrong))}"):
        DittoConfig(**wrong)
