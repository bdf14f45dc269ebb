"""LG-FedAvg against a two-layer net in NumPy, over two architectures, and its two limits bit for bit."""

from __future__ import annotations

import pytest
import torch

from fl_bench.federation.channel import Uploads
from fl_bench.federation.payloads import Parameters
from fl_bench.federation.run import Run
from fl_bench.federation.settings import ModelMix, Training
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
        ("deep", [0, 2], Parameters({"head.bias": torch.tensor([[6.0, 0.0], [9.0, 3.0]])})),
        ("flat", [1], Parameters({"head.bias": torch.tensor([[0.0, -6.0]])})),
    ]
    uploads = Uploads(groups, sizes=[1, 4, 1], owners=["deep", "flat", "deep"], dtype=torch.float32)
    downloads = LGFedAvg(LGFedAvgConfig(weights=weights)).server_update(uploads, rnd=None)
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
    assert next(run.rounds()).clients[0]["bytes_up"] == {"head": 15 * 8, "all": 27 * 8, "none": 0}[global_part]
    everything = global_part == "all"
    needs = run.method.needs()
    assert (needs.one_width, needs.one_architecture, needs.shared_init) == (True, everything, everything)
