"""FedROD against two heads, and a hyper-network, on one NumPy body; the balanced softmax by hand; its limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fl_bench.benchmarks.grid.configure import plain
from fl_bench.errors import ConfigError
from fl_bench.federation.batches import Batch
from fl_bench.federation.models.build import build_net
from fl_bench.federation.rounds import Round
from fl_bench.federation.settings import Training
from fl_bench.federation.trees import subtree
from fl_bench.methods.contract import deal, finish, made_up_data, make_run
from fl_bench.methods.fedrod import CLASS_SHARES, FedRODConfig, both_losses, log_prior
from fl_bench.methods.two_heads import GeneratedHead, TwoHeads
from fl_bench.streams import torch_stream


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
    newest = common.logits(x)[0] + heads[0] @ np.append(common.features(x)[0], 1)
    logits = run.method.views(clients, rnd)["refreshed"].logits(0, torch.from_numpy(x))[0]
    np.testing.assert_allclose(logits.detach().numpy(), newest, rtol=0, atol=1e-12)


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
    assert same_bits(subtree(run.method.common, "generic"), fedavg.method.w) == balanced


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
    assert (
        next(run.rounds()).clients[0]["bytes_up"] == 28 * 8
    )  # 12 of the body, 15 of one head, and the size, in float64
    assert run.facts()["deployed"] == "personal"
    assert run.facts()["views"] == ["generic", "personal", "refreshed"]


class HyperNetwork:
    """numbers = A relu(B a + c) + e, cut into W (3, 4) and b (3,); one SGD step against dL/dW and dL/db."""

    names = ("generator.weight", "generator.bias", "hidden.weight", "hidden.bias")

    def __init__(self, a, e, b, c) -> None:
        self.parts = [a, e, b, c]

    @classmethod
    def read(cls, weights, row: int) -> HyperNetwork:
        return cls(*[weights[f"personal.{name}"][row].numpy().copy() for name in cls.names])

    def head(self, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        a, e, b, c = self.parts
        numbers = a @ np.maximum(b @ shares + c, 0) + e
        return numbers[:12].reshape(3, 4), numbers[12:]

    def descend(self, shares: np.ndarray, z: np.ndarray, slope: np.ndarray, lr: float) -> None:
        a, _, b, c = self.parts
        before = b @ shares + c
        numbers = np.concatenate([(slope.T @ z).ravel(), slope.sum(axis=0)])
        through = (a.T @ numbers) * (before > 0)
        steps = [np.outer(numbers, np.maximum(before, 0)), numbers, np.outer(through, shares), through]
        self.parts = [part - lr * step for part, step in zip(self.parts, steps, strict=True)]


@pytest.mark.parametrize("gamma", [0.0, 1.0])
def test_generated_heads_against_numpy(deep_world, two_layers, steps_of_client, gamma: float) -> None:
    # Both losses see the net as the batch found it; the hyper-network has a rate of its own and is averaged by size.
    world = deep_world
    world.private[0] = (world.private[0][0], np.array([0, 0, 2]))
    settings = {"gamma": gamma, "head": "generated", "hidden": 5, "hyper_lr": 0.3}
    start = world.build("fedrod", **settings).client_weights()["mlp-4"]
    nets, shared = two_layers(subtree(start, "generic")), HyperNetwork.read(start, 0)
    assert all((shared.parts[i] == HyperNetwork.read(start, 2).parts[i]).all() for i in range(4))
    counts = [np.bincount(y, minlength=3) for _, y in world.private]
    with np.errstate(divide="ignore"):
        prior = [gamma * np.log(count) if gamma else np.zeros(3) for count in counts]
    run = world.build("fedrod", **settings)
    rows = [row.values for row in run.rounds()]
    common = nets[0].copy()
    for _ in range(world.rounds):
        hypers = []
        for client, (x, y) in enumerate(world.private):
            nets[client] = net = common.copy()
            hyper = HyperNetwork(*shared.parts)
            for _ in range(steps_of_client(client, world.epochs)):
                share = counts[client] / counts[client].sum()
                z, g = net.features(x), net.logits(x)
                weight, bias = hyper.head(share)
                hyper.descend(share, z, slope(g + z @ weight.T + bias, y), 0.3)
                net.descend(x, slope(g + prior[client], y), world.lr)
            hypers.append(hyper)
        common = type(common).mean(nets, [3, 2, 1])
        parts = zip(*(hyper.parts for hyper in hypers), strict=True)
        shared = HyperNetwork(*[np.average(part, axis=0, weights=[3, 2, 1]) for part in parts])
    weights = run.client_weights()["mlp-4"]
    assert two_layers(subtree(weights, "generic")) == nets
    for client, hyper in enumerate(hypers):
        for found, expected in zip(HyperNetwork.read(weights, client).parts, hyper.parts, strict=True):
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert all(np.abs(part).max() > 0.01 for part in hypers[0].head(counts[0] / 3))  # the heads have learnt something

    rnd = Round(2, 0, run.federation)
    clients = run.client_cohort("mlp-4", range(3), rnd)
    assert two_layers(run.method.views(clients, rnd)["generic"].weights) == [common]
    x = np.array([[0.5, -2.0]])
    weight, bias = hypers[1].head(counts[1] / 2)
    expected = (nets[1].logits(x) + nets[1].features(x) @ weight.T + bias)[0]
    logits = run.method.deployed(clients, rnd).logits(1, torch.from_numpy(x))[0]
    np.testing.assert_allclose(logits.detach().numpy(), expected, rtol=0, atol=1e-12)
    weight, bias = shared.head(counts[1] / 2)  # the newest hyper-network on the client's own class shares
    newest = (common.logits(x) + common.features(x) @ weight.T + bias)[0]
    clients.load({CLASS_SHARES: torch.zeros(3, 3)})  # which a client that never took part has not filled in
    logits = run.method.views(clients, rnd)["refreshed"].logits(1, torch.from_numpy(x))[0]
    np.testing.assert_allclose(logits.detach().numpy(), newest, rtol=0, atol=1e-12)
    # as many steps of the hyper-network as of the nets
    assert [row["steps_local"] for row in rows] == [2 * sum(steps_of_client(client, 2) for client in range(3))] * 3


def test_a_fresh_hyper_network_deploys_the_generic_net() -> None:
    net = build_net("mlp-4", (2,), 3, key=1)
    x = torch.tensor([[1.0, -2.0], [-3.0, 0.5]])
    state = torch.get_rng_state()
    model = TwoHeads(net, GeneratedHead(net.head, 5, torch_stream(0, "a test")))
    model.personal.shares.copy_(torch.tensor([0.5, 0.25, 0.25]))
    assert torch.equal(model(x), net(x))
    assert torch.equal(torch.get_rng_state(), state)


def test_hidden_layers_are_drawn_as_torch_draws_them() -> None:
    # Uniform in +-1/sqrt(3): of 400 numbers or more the smallest and the largest come within a tenth of the bounds.
    head = build_net("mlp-4", (2,), 3, key=1).head
    bound = 3**-0.5
    for tensor in GeneratedHead(head, 400, torch_stream(0, "a test")).hidden.state_dict().values():
        assert -bound <= float(tensor.min()) < -0.9 * bound
        assert 0.9 * bound < float(tensor.max()) <= bound


def test_hyper_networks_are_drawn_by_the_seed() -> None:
    dataset, config = made_up_data(), FedRODConfig(head="generated")
    first, again, other = (
        make_run("fedrod", dataset, deal(dataset), config=config, seed=seed).client_weights()["mlp-8"]
        for seed in (0, 0, 1)
    )
    assert torch.equal(first["personal.hidden.weight"], again["personal.hidden.weight"])
    assert not torch.equal(first["personal.hidden.weight"], other["personal.hidden.weight"])


def test_the_runs_optimizer_leaves_the_hyper_network_alone(deep_world) -> None:
    # Weight decay would take a factor of 1 - .5 * .1 off every weight at every step; so small a rate of the
    # hyper-network's own SGD, which has no decay, moves nothing.
    deep_world.options = {"weight_decay": 0.1}
    fresh, run = (deep_world.build("fedrod", head="generated", hyper_lr=1e-30) for _ in range(2))
    list(run.rounds())
    start, end = (each.client_weights()["mlp-4"] for each in (fresh, run))
    for name in start.keys() - {"personal.shares"}:
        kept = torch.allclose(end[name], start[name], rtol=0, atol=1e-12)
        assert kept == name.startswith("personal."), name


def test_the_hyper_network_travels_with_the_generic_net(deep_world, moves_as_planned) -> None:
    run = deep_world.run("fedrod", head="generated", hidden=5)
    assert moves_as_planned(run)
    # 27 of the generic net; (3 + 1) * 5 of the hidden layer; (5 + 1) * 15 to make 12 weights and 3 biases; in float64
    assert next(run.rounds()).clients[0]["bytes_up"] == (27 + 20 + 90 + 1) * 8


def test_generated_heads_survive_a_stop_and_equal_both_engines(tmp_path) -> None:
    dataset, config = made_up_data(), FedRODConfig(head="generated")
    training = {"rounds": 4, "batch_size": 8, "optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "participation": 0.4}

    def run(engine: str, **options):
        settings = Training(**training, precision="float64", optimizer_state="persist", engine=engine)
        return make_run("fedrod", dataset, deal(dataset), settings, config=config, **options)

    whole, stacked = finish(run("loop")), finish(run("stacked"))
    finish(run("loop", checkpoint=tmp_path / "half.pt"), rounds=2)
    resumed = finish(run("loop", checkpoint=tmp_path / "half.pt"))
    for name, tensor in whole.weights.items():
        assert torch.equal(tensor, resumed.weights[name]), name
        assert torch.allclose(tensor, stacked.weights[name], rtol=0, atol=1e-9), name


def test_a_linear_head_is_the_default_and_the_rest_no_part_of_a_cells_key() -> None:
    assert plain(FedRODConfig()) == {"gamma": 1.0}


@pytest.mark.parametrize("wrong", [{"gamma": -0.1}, {"hidden": 0}, {"hyper_lr": 0.0}], ids=str)
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=rf"fedrod\.{next(iter(wrong))}"):
        FedRODConfig(**wrong)
