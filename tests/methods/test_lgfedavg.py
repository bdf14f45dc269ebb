"""LG-FedAvg against a two-layer net in NumPy, with and without a warm start; over two architectures; its limits."""

from __future__ import annotations

import pytest
import torch

from fl_bench.benchmarks.grid.configure import plain
from fl_bench.errors import ConfigError
from fl_bench.federation.channel import Uploads
from fl_bench.federation.payloads import Parameters
from fl_bench.federation.rounds import Round
from fl_bench.federation.run import Run
from fl_bench.federation.settings import ModelMix, Training
from fl_bench.methods.contract import client_facts, deal, finish, made_up_data, make_run
from fl_bench.methods.lgfedavg import LGFedAvg, LGFedAvgConfig


@pytest.mark.parametrize(("weights", "counts"), [("size", [3, 2, 1]), ("uniform", [1, 1, 1])])
def test_three_rounds_against_numpy(deep_world, two_layers, steps_of_client, weights: str, counts: list[int]) -> None:
    world = deep_world
    nets = two_layers(world.build("lgfedavg"))  # the initial weights
    run = world.run("lgfedavg", weights=weights)
    common = nets[0].copy()
    for _ in range(world.rounds):
        for client, (net, (x, y)) in enumerate(zip(nets, world.private, strict=True)):
            net.take(common, "head")  # the body stays
            net.train(x, y, world.lr, steps=steps_of_client(client, world.epochs))
        common = type(common).mean(nets, counts)
    assert two_layers(run) == nets
    assert len({net.body.tobytes() for net in nets}) == 3


@pytest.mark.parametrize(("global_part", "limit"), [("all", "fedavg"), ("none", "local")])
def test_limits_bit_for_bit(deep_world, same_bits, global_part: str, limit: str) -> None:
    run, other = deep_world.run("lgfedavg", global_part=global_part), deep_world.run(limit)
    assert same_bits(run.client_weights()["mlp-4"], other.client_weights()["mlp-4"])


@pytest.mark.parametrize(("weights", "expected"), [("size", [2.5, -3.5]), ("uniform", [5.0, -1.0])])
def test_heads_are_averaged_over_architectures(weights: str, expected: list[float]) -> None:
    # Clients 0 and 2 have one architecture, client 1 another; sizes 1, 4, 1 and biases (6, 0), (0, -6), (9, 3).
    # By size, (1 * 6 + 4 * 0 + 1 * 9) / 6 = 2.5 and (0 - 24 + 3) / 6 = -3.5; uniformly 15 / 3 = 5 and -3 / 3 = -1.
    groups = [
        (
            "deep",
            [0, 2],
            Parameters({"head.bias": torch.tensor([[6.0, 0.0], [9.0, 3.0]])}, sizes=torch.tensor([1.0, 1.0])),
        ),
        ("flat", [1], Parameters({"head.bias": torch.tensor([[0.0, -6.0]])}, sizes=torch.tensor([4.0]))),
    ]
    uploads = Uploads(groups, owners=["deep", "flat", "deep"], dtype=torch.float32)
    downloads = LGFedAvg(LGFedAvgConfig(weights=weights)).server_update(uploads, Round(0, 0, None))
    (parcel,) = downloads.parcels
    assert parcel.address == {0: 0, 1: 0, 2: 0}
    assert parcel.payload.tree["head.bias"].tolist() == [pytest.approx(expected)]


def test_clients_with_different_bodies_run_and_start_a_round_from_one_head(deep_world) -> None:
    world = deep_world
    mix = ModelMix(("mlp-4", "linear"), assignment=("mlp-4", "linear", "mlp-4"), width=4)
    training = Training(rounds=2, batch_size=3, optimizer="sgd", lr=1e-12, precision="float64")
    run = Run(LGFedAvg(), world.dataset, world.split, mix, training, seed=0)
    heads = {name: tree["head.weight"] for name, tree in run.client_weights().items()}
    for _ in run.rounds():
        pass
    # Nothing is learnt at this rate, so that the second round starts, and ends, with the average of the first heads.
    expected = (3 * heads["mlp-4"][0] + 2 * heads["linear"][0] + heads["mlp-4"][1]) / 6
    for tree in run.client_weights().values():
        for found in tree["head.weight"]:
            assert torch.allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("global_part", ["head", "all", "none"])
def test_bytes_and_needs_of_the_global_part(deep_world, moves_as_planned, global_part: str) -> None:
    run = deep_world.run("lgfedavg", global_part=global_part)
    assert moves_as_planned(run)
    # mlp-4 on 2 features and 3 classes, float64: a body of 2 * 4 + 4 = 12 and a head of 4 * 3 + 3 = 15 numbers
    assert (
        next(run.rounds()).clients[0]["bytes_up"] == {"head": (15 + 1) * 8, "all": (27 + 1) * 8, "none": 0}[global_part]
    )
    everything = global_part == "all"
    needs = run.method.needs()
    assert (needs.one_width, needs.one_architecture, needs.shared_init) == (True, everything, everything)


def test_a_warm_start_against_numpy(deep_world, two_layers, steps_of_client) -> None:
    # Rounds 0 and 1 are FedAvg's; round 2 starts everywhere with the average after round 1, round 3 with the head of
    # the average after round 2 on the body that the client trained. Clients count 3, 2 and 1.
    world = deep_world
    world.rounds = 4
    nets = two_layers(world.build("lgfedavg"))  # the initial weights
    run = world.run("lgfedavg", warm_start=2)
    common = nets[0].copy()
    for t in range(4):
        for client, (net, (x, y)) in enumerate(zip(nets, world.private, strict=True)):
            net.take(common, "body head" if t < 3 else "head")
            net.train(x, y, world.lr, steps=steps_of_client(client, world.epochs))
        common = type(common).mean(nets, [3, 2, 1])
    assert two_layers(run) == nets
    # a net of 27 numbers and a head of 15, of 8 bytes each; what a round learned goes down in the next
    sizes = [(row.clients[0]["bytes_up"] // 8, row.clients[0]["bytes_down"] // 8) for row in run.rounds()]
    assert sizes == [(28, 0), (28, 27), (16, 27), (16, 15)]  # numbers; up with the client's size


def test_who_comes_late_starts_from_fedavgs_last_average(deep_world, two_layers, steps_of_client) -> None:
    # One client per round; in rounds 0 and 1 its model is the average. From round 2 on heads are passed on alone, but
    # to clients that have not taken part since, which receive the body of round 1 beside the newest head.
    world = deep_world
    world.rounds, world.options = 8, {"participation": 0.34}
    nets = two_layers(world.build("lgfedavg"))
    run = world.build("lgfedavg", warm_start=2)
    waiting, cold, late, received = {}, set(), 0, []
    for t in range(world.rounds):
        (client,) = run.participants(t)
        parts = ""
        if client in waiting:
            net, parts = waiting.pop(client)
            nets[client].take(net, parts)
        late += t > 2 and client in cold
        received.append({"": 0, "head": 15, "body head": 27}[parts] * 8)
        x, y = world.private[client]
        nets[client].train(x, y, world.lr, steps=steps_of_client(client, world.epochs))
        if t < 2:
            warm, cold = nets[client].copy(), {0, 1, 2}
        else:
            cold.discard(client)
        newest = warm.copy()
        newest.take(nets[client], "head")
        waiting = {other: (newest, "body head" if other in cold else "head") for other in range(3)}
    assert late > 0  # the test has somebody who comes late
    assert received.count(15 * 8) > 1  # and some who come again
    assert [row.values["bytes_down"] for row in run.rounds()] == received
    assert two_layers(run) == nets
    assert run.method.cold == cold


def test_every_client_deploys_the_newest_head_on_its_own_body(deep_world, two_layers) -> None:
    deep_world.options = {"participation": 0.34}  # one client a round
    run = deep_world.run("lgfedavg")
    drawn = [client for t in range(3) for client in run.participants(t)]
    assert drawn == [1, 1, 2]  # and client 0 never
    nets, start = two_layers(run), two_layers(deep_world.build("lgfedavg"))
    rnd = Round(2, 0, run.federation)
    clients = run.client_cohort("mlp-4", range(3), rnd)
    assert two_layers(run.method.views(clients, rnd)["+local"].weights) == nets
    newest = nets[drawn[-1]].copy()  # the average over one client is what that client sent
    for client, found in enumerate(two_layers(run.method.deployed(clients, rnd).weights)):
        expected = newest.copy()
        expected.take(nets[client] if client in drawn else start[0], "body")
        assert found == expected


def test_who_has_yet_to_come_after_a_warm_start_deploys_fedavgs_body(deep_world, two_layers) -> None:
    deep_world.options = {"participation": 0.34}
    run = deep_world.run("lgfedavg", warm_start=2)
    assert (run.participants(2), run.method.cold) == ([2], {0, 1})
    before, (warm,) = two_layers(run), two_layers(run.method.warm)
    rnd = Round(2, 0, run.federation)
    found = two_layers(run.method.deployed(run.client_cohort("mlp-4", range(3), rnd), rnd).weights)
    expected = [warm.copy(), warm.copy(), before[2]]
    for net in expected:
        net.take(before[2], "head")
    assert found == expected
    assert two_layers(run) == before  # on the side


@pytest.mark.parametrize("warm_start", [3, 5])
def test_a_warm_start_without_end_is_fedavg_bit_for_bit(deep_world, same_bits, warm_start: int) -> None:
    run, fedavg = deep_world.run("lgfedavg", warm_start=warm_start), deep_world.run("fedavg")
    assert same_bits(run.client_weights()["mlp-4"], fedavg.client_weights()["mlp-4"])


def test_after_a_warm_start_nothing_may_be_shared(deep_world, two_layers, steps_of_client) -> None:
    # One round of FedAvg, then Local-only from its average.
    world = deep_world
    nets = two_layers(world.build("lgfedavg"))
    run = world.run("lgfedavg", global_part="none", warm_start=1)
    for rounds in (1, 2):
        for client, (net, (x, y)) in enumerate(zip(nets, world.private, strict=True)):
            net.train(x, y, world.lr, steps=rounds * steps_of_client(client, world.epochs))
        if rounds == 1:
            nets = [type(nets[0]).mean(nets, [3, 2, 1]) for _ in nets]
    assert two_layers(run) == nets
    assert [row.values["bytes_up"] for row in run.rounds()] == [3 * (27 + 1) * 8, 0, 0]


def test_a_warm_start_survives_a_stop(tmp_path) -> None:
    dataset, config = made_up_data(), LGFedAvgConfig(warm_start=1)
    training = Training(rounds=6, batch_size=8, lr=0.01, participation=0.4)

    def run(**options):
        return make_run("lgfedavg", dataset, deal(dataset), training, config=config, **options)

    whole = finish(run())
    for rounds in (1, 2, 3):
        finish(run(checkpoint=tmp_path / f"{rounds}.pt"), rounds=rounds)
        resumed = finish(run(checkpoint=tmp_path / f"{rounds}.pt"))
        assert [row["bytes_down"] for row in resumed.rows] == [row["bytes_down"] for row in whole.rows]
        assert all(torch.equal(tensor, resumed.weights[name]) for name, tensor in whole.weights.items())


def test_a_warm_start_needs_what_fedavg_needs(deep_world) -> None:
    run = deep_world.build("lgfedavg", warm_start=1)
    needs = run.method.needs()
    assert (needs.one_architecture, needs.shared_init) == (True, True)
    plan = run.method.plan(client_facts(run))
    assert (plan.up_bytes, plan.down_bytes, plan.bound) == ((27 + 1) * 8, 27 * 8, True)


def test_no_warm_start_is_the_default_and_no_part_of_a_cells_key(deep_world) -> None:
    assert "warm_start" not in plain(LGFedAvgConfig())
    run = deep_world.run("lgfedavg")
    assert run.method.state_dict() == {}
    assert not run.method.plan(client_facts(run)).bound
    with pytest.raises(ConfigError, match=r"lgfedavg\.warm_start"):
        LGFedAvgConfig(warm_start=-1)
