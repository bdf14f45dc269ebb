"""FedBABU against a two-layer net in NumPy; its head, its fine-tuning and its limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fl_bench.errors import ConfigError, Unsupported
from fl_bench.federation.rounds import Round
from fl_bench.methods.fedbabu import FedBABUConfig
from fl_bench.methods.losses import cross_entropy
from fl_bench.methods.parts import is_body


def deployed(run, ids=(0, 1, 2)):
    rnd = Round(run.training.rounds - 1, 0, run.federation)
    cohort = run.client_cohort("mlp-4", ids, rnd)
    return run.method.deployed(cohort, rnd), run.method.views(cohort, rnd)["global"]


@pytest.mark.parametrize(("part", "parts"), [("full", "body head"), ("head", "head"), ("body", "body")])
def test_three_rounds_and_fine_tuning_against_numpy(
    deep_world, two_layers, steps_of_client, part: str, parts: str
) -> None:
    world = deep_world
    nets = two_layers(world.build("fedbabu"))
    run = world.run("fedbabu", finetune_epochs=4, part=part)
    common = nets[0].copy()
    for _ in range(world.rounds):
        for client, (net, (x, y)) in enumerate(zip(nets, world.private, strict=True)):
            net.take(common, "body")
            net.train(x, y, world.lr, steps=steps_of_client(client, world.epochs), parts="body")
        common = type(common).mean(nets, [1, 1, 1])  # uniformly, though the sizes are 3, 2 and 1
    before = run.client_weights()
    tuned, server = deployed(run)
    assert two_layers(server.weights) == [common]  # whose head is still the initial one
    for client, (x, y) in enumerate(world.private):
        net = common.copy()
        net.train(x, y, world.lr, steps=steps_of_client(client, 4), parts=parts)
        assert two_layers(tuned.weights)[client] == net
    assert two_layers(run) == nets == two_layers(before["mlp-4"])  # fine-tuning left the clients alone


def test_all_heads_are_the_initial_head_bit_for_bit(deep_world) -> None:
    deep_world.options = {"momentum": 0.9, "weight_decay": 0.5}
    start = deep_world.build("fedbabu").client_weights()["mlp-4"]
    end = deep_world.run("fedbabu").client_weights()["mlp-4"]
    for name in ("head.weight", "head.bias"):
        assert torch.equal(start[name], end[name])
        assert torch.equal(end[name], end[name][:1].expand_as(end[name]))


def test_a_trained_head_is_fedavg_bit_for_bit(deep_world, same_bits, moves_as_planned) -> None:
    run, fedavg = deep_world.run("fedbabu", head="trained"), deep_world.run("fedavg", weights="uniform")
    assert same_bits(run.client_weights()["mlp-4"], fedavg.client_weights()["mlp-4"])
    assert same_bits(dict(deployed(run)[1].weights), fedavg.method.w)
    assert moves_as_planned(run)


def test_without_fine_tuning_the_client_deploys_the_server_model(deep_world) -> None:
    rows = [row.values for row in deep_world.run("fedbabu", finetune_epochs=0).rounds()]
    for row in rows:
        assert row["client.loss_mean"] == row["global.loss_mean"]
        assert row["steps_finetune"] == 0


def test_fine_tuning_is_counted_apart_and_once_per_round(deep_world) -> None:
    # 2 local epochs of sizes 3, 2, 1 in batches of 3: 2 + 2 + 1 steps; 4 epochs to fine-tune: 4 + 3 + 2
    rows = [row.values for row in deep_world.run("fedbabu", finetune_epochs=4).rounds()]
    assert [(row["steps_local"], row["steps_finetune"]) for row in rows] == [(5, 9)] * 3


def test_fine_tuning_has_batches_of_its_own(deep_world, same_bits) -> None:
    # The same samples in other orders: nine in batches of three.
    deep_world.private = [(np.concatenate([x, -x, 2 * x]), np.tile(y, 3)) for x, y in deep_world.private[:1]]
    deep_world.rounds = 1
    run = deep_world.run("fedbabu", finetune_epochs=1, part="body")
    tuned = dict(deployed(run, [0])[0].weights)
    rnd = Round(0, 0, run.federation)
    again = run.client_cohort("mlp-4", [0], rnd).copy()
    again.load(run.method.common)
    again.fit(cross_entropy, epochs=1, trainable=is_body)
    assert not same_bits(tuned, again.weights)


def test_redrawn_heads_are_small_fresh_and_the_clients_own(deep_world) -> None:
    deep_world.private = [deep_world.private[0]] * 40
    deep_world.rounds = 2
    run = deep_world.build("fedbabu", head="redrawn")
    seen = []
    for _ in run.rounds():
        tree = run.client_weights()["mlp-4"]
        assert (tree["head.bias"] == 0).all()
        seen.append(tree["head.weight"])
    # 40 clients * 12 weights: the standard deviation 0.02 is met within 4 standard errors, 4 / sqrt(2 * 480) = 13 %
    assert seen[0].std() == pytest.approx(0.02, rel=0.13)
    assert len(torch.cat(seen).unique()) == 2 * 40 * 12  # another head for every client and round
    assert deployed(run, range(40))[0].weights["head.weight"].std() > 0.02  # fine-tuned from there


def test_only_the_body_travels(deep_world, moves_as_planned) -> None:
    run = deep_world.run("fedbabu")
    assert moves_as_planned(run)
    assert next(run.rounds()).clients[0]["bytes_up"] == 12 * 8  # 2 * 4 weights and 4 biases in float64


def test_nets_without_a_body_are_refused(world) -> None:
    with pytest.raises(Unsupported, match="linear has no parameters"):
        world.build("fedbabu")


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"fedbabu\.finetune_epochs"):
        FedBABUConfig(finetune_epochs=-1)
