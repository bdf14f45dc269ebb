"""FedPer against a two-layer net in NumPy, and its two limits bit for bit."""

from __future__ import annotations

import pytest

from fl_bench.errors import Unsupported
from fl_bench.federation.rounds import Round


def test_three_rounds_against_numpy(deep_world, two_layers, steps_of_client) -> None:
    world = deep_world
    nets = two_layers(world.build("fedper"))  # the initial weights
    run = world.run("fedper")
    common = nets[0].copy()
    for _ in range(world.rounds):
        for client, (net, (x, y)) in enumerate(zip(nets, world.private, strict=True)):
            net.take(common, "body")  # the head stays
            net.train(x, y, world.lr, steps=steps_of_client(client, world.epochs))
        common = type(common).mean(nets, [3, 2, 1])  # by size
    assert two_layers(run) == nets
    assert len({net.head.tobytes() for net in nets}) == 3


def test_every_client_deploys_the_newest_body_under_its_own_head(deep_world, two_layers) -> None:
    deep_world.options = {"participation": 0.34}  # one client a round
    run = deep_world.run("fedper")
    drawn = [client for t in range(3) for client in run.participants(t)]
    assert drawn == [1, 1, 2]  # and client 0 never
    nets, start = two_layers(run), two_layers(deep_world.build("fedper"))
    rnd = Round(2, 0, run.federation)
    clients = run.client_cohort("mlp-4", range(3), rnd)
    assert two_layers(run.method.views(clients, rnd)["+local"].weights) == nets
    newest = nets[drawn[-1]].copy()  # the average over one client is what that client sent
    for client, found in enumerate(two_layers(run.method.deployed(clients, rnd).weights)):
        expected = newest.copy()
        expected.take(nets[client] if client in drawn else start[0], "head")
        assert found == expected


@pytest.mark.parametrize(("personal", "limit"), [("none", "fedavg"), ("all", "local")])
def test_limits_bit_for_bit(deep_world, same_bits, personal: str, limit: str) -> None:
    run, other = deep_world.run("fedper", personal=personal), deep_world.run(limit)
    assert same_bits(run.client_weights()["mlp-4"], other.client_weights()["mlp-4"])


@pytest.mark.parametrize("personal", ["head", "none", "all"])
def test_bytes_of_the_shared_part(deep_world, moves_as_planned, personal: str) -> None:
    run = deep_world.run("fedper", personal=personal)
    assert moves_as_planned(run)
    # mlp-4 on 2 features and 3 classes, float64: a body of 2 * 4 + 4 = 12 and a head of 4 * 3 + 3 = 15 numbers
    up = next(run.rounds()).clients[0]["bytes_up"]
    assert up == {"head": (12 + 1) * 8, "none": (27 + 1) * 8, "all": 0}[personal]


def test_nets_without_a_body_are_refused(world) -> None:
    with pytest.raises(Unsupported, match="linear has no parameters"):
        world.build("fedper")
    world.build("fedper", personal="all")  # shares nothing and needs nothing
