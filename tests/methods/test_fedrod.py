"""FedROD against two heads on one NumPy body; the balanced softmax by hand; its limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fl_bench.errors import ConfigError
from fl_bench.federation.batches import Batch
from fl_bench.federation.models.build import build_net
from fl_bench.federation.rounds import Round
from fl_bench.federation.trees import subtree
from fl_bench.methods.fedrod import FedRODConfig, both_losses, log_prior
from fl_bench.methods.two_heads import TwoHeads


def slope(logits: np.ndarray, y: np.ndarray) -> np.ndarray:
    e = np.exp(logits)
    return (e / e.sum(axis=1, keepdims=True) - np.eye(3)[y]) / len(y)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
def test_three_rounds_against_numpy(deep_world, two_layers, steps_of_client, gamma: float) -> None:
    world = deep_world
    y0 = np.array([0, 0, 2])  # class 1 is absent, and the others are not balanced
    world.private[0] = (world.private[0][0], y0)
    nets = two_layers(subtree(world.build("fedrod").client_weights()["mlp-4"], "generic"))
    run = world.run("fedrod", gamma=gamma)
    common = nets[0].copy()
    heads = [np.zeros((3, 5)) for _ in nets]  # personal weights and, last, biases
    with np.errstate(divide="ignore"):
        prior = [gamma * np.log(np.bincount(y, minlength=3)) if gamma else np.zeros(3) for _, y in world.private]
    for _ in range(world.rounds):
        for client, (x, y) in enumerate(world.private):
            nets[client] = net = common.copy()
            for _ in range(steps_of_client(client, world.epochs)):
                z, g = net.features(x), net.logits(x)
                z1 = np.concatenate([z, np.ones((len(z), 1))], axis=1)
                net.descend(x, slope(g + prior[client], y), world.lr)
                heads[client] = heads[client] - world.lr * slope(g + z1 @ heads[client].T, y).T @ z1
        common = type(common).mean(nets, [3, 2, 1])
    weights = run.client_weights()["mlp-4"]
    assert two_layers(subtree(weights, "generic")) == nets
    found = torch.cat([weights["personal.weight"], weights["personal.bias"][:, :, None]], dim=2)
    np.testing.assert_allclose(found.numpy(), np.stack(heads), rtol=0, atol=1e-12)

    rnd = Round(2, 0, run.federation)
    clients = run.client_cohort("mlp-4", range(3), rnd)
    assert two_layers(run.method.views(clients, rnd)["generic"].weights) == [common]
    x = np.array([[0.5, -2.0]])
    z1 = np.append(nets[0].features(x)[0], 1)
    expected = nets[0].logits(x)[0] + heads[0] @ z1
    logits = run.method.deployed(clients, rnd).logits(0, torch.from_numpy(x))[0]
    np.testing.assert_allclose(logits.detach().numpy(), expected, rtol=0, atol=1e-12)


def test_prior_by_hand() -> None:
    # counts (4, 2, 0) against the largest: log 1, log 1/2, log 0; squared by gamma = 2: log 1/4
    counts = torch.tensor([[4.0, 2.0, 0.0], [7.0, 7.0, 7.0]])
    assert log_prior(counts, 1.0).tolist() == [[0.0, pytest.approx(-math.log(2)), -math.inf], [0.0, 0.0, 0.0]]
    assert log_prior(counts, 2.0)[0, 1].item() == pytest.approx(-math.log(4))
    assert log_prior(counts, 0.0).tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize("balanced", [True, False])
def test_the_generic_path_is_fedavg_where_classes_are_balanced(deep_world, same_bits, balanced: bool) -> None:
    labels = [[0, 1, 2], [2, 1, 0]] if balanced else [[0, 1, 2], [2, 2, 0]]
    deep_world.private = [(x, np.array(y)) for (x, _), y in zip([deep_world.private[0]] * 2, labels, strict=True)]
    run, fedavg = deep_world.run("fedrod"), deep_world.run("fedavg")
    found = subtree(run.client_weights()["mlp-4"], "generic")
    assert same_bits(found, fedavg.client_weights()["mlp-4"]) == balanced
    assert same_bits(run.method.generic, fedavg.method.w) == balanced


def test_each_loss_reaches_its_own_part_only() -> None:
    # One sample of class 0, the only class of its client: all others are masked, so the balanced loss is 0 and flat.
    model = TwoHeads(build_net("mlp-4", (2,), 3, key=1))
    batch = Batch(torch.tensor([[1.0, -2.0]]), torch.tensor([0]), extra={"log_prior": log_prior(torch.eye(3), 1.0)[0]})
    loss = both_losses(model, batch)
    loss.backward()
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        assert gradient is not None
        assert bool((gradient == 0).all()) == name.startswith("generic."), name
    logits = model.generic(batch.x)[0]
    assert loss.item() == pytest.approx((logits.logsumexp(0) - logits[0]).item())


def test_an_untrained_personal_head_deploys_the_generic_net() -> None:
    net = build_net("mlp-4", (2,), 3, key=1)
    x = torch.tensor([[1.0, -2.0], [-3.0, 0.5]])
    state = torch.get_rng_state()
    assert torch.equal(TwoHeads(net)(x), net(x))
    assert torch.equal(torch.get_rng_state(), state)


def test_the_generic_net_travels(deep_world, moves_as_planned) -> None:
    run = deep_world.run("fedrod")
    assert moves_as_planned(run)
    assert next(run.rounds()).clients[0]["bytes_up"] == 27 * 8  # 12 of the body, 15 of one head, in float64
    assert run.facts()["deployed"] == "personal"
    assert run.facts()["views"] == ["generic", "personal"]


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"fedrod\.gamma"):
        FedRODConfig(gamma=-0.1)
