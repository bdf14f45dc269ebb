"""FedRep against a two-layer net in NumPy, and its limits bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from fl_bench.errors import ConfigError, Unsupported
from fl_bench.federation.rounds import Round
from fl_bench.methods.fedrep import FedRepConfig
from fl_bench.methods.losses import cross_entropy
from fl_bench.methods.parts import is_head


def test_three_rounds_against_numpy(deep_world, two_layers, steps_of_client) -> None:
    world = deep_world
    nets = two_layers(world.build("fedrep"))  # the initial weights
    run = world.run("fedrep", head_epochs=3, body_epochs=2)
    common = nets[0].copy()
    for _ in range(world.rounds):
        for client, (net, (x, y)) in enumerate(zip(nets, world.private, strict=True)):
            net.take(common, "body")
            net.train(x, y, world.lr, steps=steps_of_client(client, 3), parts="head")
            net.train(x, y, world.lr, steps=steps_of_client(client, 2), parts="body")
        common = type(common).mean(nets, [3, 2, 1])
    assert two_layers(run) == nets


def test_without_body_epochs_the_body_stays_and_only_heads_learn(deep_world, two_layers) -> None:
    start = two_layers(deep_world.build("fedrep"))[0]
    for net in two_layers(deep_world.run("fedrep", body_epochs=0)):
        start.take(net, "head")
        assert net == start
    assert len({net.head.tobytes() for net in two_layers(deep_world.run("fedrep", body_epochs=0))}) == 3


def test_without_head_epochs_it_is_fedbabu_bit_for_bit(deep_world, same_bits) -> None:
    # Clients of one size: FedRep averages by size, FedBABU uniformly. Nine samples in batches of three: order matters.
    x, y = deep_world.private[0]
    deep_world.private = [(np.concatenate([x, -x, 2 * x]), np.tile(y, 3))] * 2
    run = deep_world.run("fedrep", head_epochs=0, body_epochs=deep_world.epochs)
    assert same_bits(run.client_weights()["mlp-4"], deep_world.run("fedbabu").client_weights()["mlp-4"])


def test_heads_are_trained_on_batches_of_their_own(deep_world, same_bits) -> None:
    # After one round of heads only, weights differ from those of the same pass over the batches that bodies see.
    x, y = deep_world.private[0]
    deep_world.private = [(np.concatenate([x, -x, 2 * x]), np.tile(y, 3))]
    deep_world.rounds = 1
    run = deep_world.run("fedrep", head_epochs=1, body_epochs=0)
    fresh = deep_world.build("fedrep")
    clients = fresh.client_cohort("mlp-4", [0], Round(0, 0, fresh.federation))
    clients.fit(cross_entropy, epochs=1, trainable=is_head)
    assert not same_bits(run.client_weights()["mlp-4"], fresh.client_weights()["mlp-4"])


def test_every_client_deploys_the_newest_body_under_its_own_head(deep_world, two_layers) -> None:
    deep_world.options = {"participation": 0.34}  # one client a round
    run = deep_world.run("fedrep")
    drawn = [client for t in range(3) for client in run.participants(t)]
    assert drawn == [1, 1, 2]  # and client 0 never
    nets, start = two_layers(run), two_layers(deep_world.build("fedrep"))
    rnd = Round(2, 0, run.federation)
    clients = run.client_cohort("mlp-4", range(3), rnd)
    assert two_layers(run.method.views(clients, rnd)["+local"].weights) == nets
    newest = nets[drawn[-1]].copy()  # the average over one client is what that client sent
    for client, found in enumerate(two_layers(run.method.deployed(clients, rnd).weights)):
        expected = newest.copy()
        expected.take(nets[client] if client in drawn else start[0], "head")
        assert found == expected


def test_frozen_parts_feel_no_momentum_and_no_decay(deep_world, two_layers) -> None:
    deep_world.options = {"momentum": 0.9, "weight_decay": 0.5, "optimizer_state": "persist"}
    start = two_layers(deep_world.build("fedrep"))[0]
    for net in two_layers(deep_world.run("fedrep", body_epochs=0)):
        net.take(start, "head")
        assert net == start


def test_only_the_body_travels(deep_world, moves_as_planned) -> None:
    run = deep_world.run("fedrep")
    assert moves_as_planned(run)
    assert next(run.rounds()).clients[0]["bytes_up"] == 13 * 8  # 2 * 4 weights, 4 biases and the size in float64


@pytest.mark.parametrize(
    ("settings", "local", "expected"),
    [
        ({}, 15, (10, 5)),  # the authors' CIFAR-100 setting
        ({}, 5, (3, 2)),
        ({}, 2, (1, 1)),
        ({}, 1, (1, 1)),  # at least one of each
        ({"head_epochs": 7}, 6, (7, 2)),
        ({"body_epochs": 1}, 6, (5, 1)),
        ({"body_epochs": 9}, 6, (1, 9)),
        ({"head_epochs": 0, "body_epochs": 0}, 6, (0, 0)),
    ],
)
def test_local_epochs_are_split(settings: dict[str, int], local: int, expected: tuple[int, int]) -> None:
    assert FedRepConfig(**settings).epochs(local) == expected


def test_nets_without_a_body_are_refused(world) -> None:
    with pytest.raises(Unsupported, match="linear has no parameters"):
        world.build("fedrep")


@pytest.mark.parametrize("name", ["head_epochs", "body_epochs"])
def test_impossible_settings_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"fedrep.{name}"):
        FedRepConfig(**{name: -1})
