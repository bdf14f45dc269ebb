"""pFedHN: a step by hand and against end-to-end autograd, what is generated, sent and kept, and every setting."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F

from fl_bench.errors import ConfigError, Unsupported
from fl_bench.federation.optimizers import Optimizer
from fl_bench.federation.rounds import Round
from fl_bench.federation.settings import ModelMix, Training
from fl_bench.methods.contract import client_facts, make_run
from fl_bench.methods.losses import cross_entropy
from fl_bench.methods.pfedhn import hypernetwork
from fl_bench.methods.registry import METHODS

if TYPE_CHECKING:
    from fl_bench.federation.payloads import Tree

CLIENTS = range(3)
PLAIN = {"inner_momentum": 0.0, "inner_decay": 0.0, "momentum": 0.0, "decay": 0.0, "clip": 1e9}
TRAINING = Training(rounds=1, local_epochs=1, batch_size=3, optimizer="sgd", lr=0.5, precision="float64")


def build(
    world: Any, names: tuple[str, ...] = ("mlp-4",), run: Any = None, training: Any = None, **settings: Any
) -> Any:
    config = METHODS["pfedhn"].config_type(**settings)
    training = replace(TRAINING, **(training or {}))
    return make_run(
        "pfedhn", world.dataset, world.split, training, config=config, models=ModelMix(names), **(run or {})
    )


def copied(tree: Tree) -> Tree:
    return {name: tensor.clone() for name, tensor in tree.items()}


def everyone(run: Any, name: str = "mlp-4") -> Any:
    ids = [client for client in CLIENTS if run.architectures[client] == name]
    return run.client_cohort(name, ids, Round(0, 0, run.federation))


@pytest.fixture
def scalar(world):
    """Builds a method with one unit h = a v + c and one generated weight w h + g: a = 3, c = 1, w = 0.5, g = 0."""

    def make(**settings: Any) -> Any:
        run = build(world, **{**PLAIN, "lr": 0.1, "layers": 0, "hidden": 1, "embedding": 1, **settings})
        method = run.method
        method.shapes = {"net": {"x": ()}}
        method.phi = {
            "embeddings": torch.tensor([[2.0], [-1.0], [5.0]]),
            "layer 0.weight": torch.tensor([[3.0]]),
            "layer 0.bias": torch.tensor([1.0]),
            "net.weight": torch.tensor([[0.5]]),
            "net.bias": torch.tensor([0.0]),
        }
        method.momenta = {name: torch.zeros_like(tensor) for name, tensor in method.phi.items()}
        return method

    return make


def values(method: Any) -> list[float]:
    """v_0, v_1, v_2, a, c, w, g."""
    return [number for tensor in method.phi.values() for number in tensor.flatten().tolist()]


# v = (2, -1) makes h = (7, -2) and x = (3.5, -1). Training lost d = (1, -2) of x:
#   w: mean of d h  = (7 + 4) / 2 = 5.5      g: mean of d = -0.5        dL/dh = d w = (0.5, -1)
#   a: mean of dh v = (1 + 1) / 2 = 1        c: mean of dh = -0.25      v: dh a = (1.5, -3), each its own
LOST = {"net": ([0, 1], {"x": torch.tensor([1.0, -2.0])})}
GRADIENT = [1.5, -3.0, 0.0, 1.0, -0.25, 5.5, -0.5]
START = [2.0, -1.0, 5.0, 3.0, 1.0, 0.5, 0.0]


def test_a_step_by_hand(scalar) -> None:
    method = scalar()
    assert method.generated([0, 1], "net")["x"].tolist() == [3.5, -1.0]
    method.step(LOST)
    assert values(method) == pytest.approx([value - 0.1 * g for value, g in zip(START, GRADIENT, strict=True)])


def test_the_servers_decay_reaches_all(scalar) -> None:
    # Each gradient grows by decay times the number itself, that of the embedding of a client who stayed away too.
    method = scalar(decay=0.2)
    method.step(LOST)
    expected = [value - 0.1 * (g + 0.2 * value) for value, g in zip(START, GRADIENT, strict=True)]
    assert values(method) == pytest.approx(expected)


def test_the_servers_momentum_lasts(scalar) -> None:
    # Nothing is lost in the second round, so its step is momentum alone: 0.5 times the first.
    method = scalar(momentum=0.5)
    method.step(LOST)
    method.step({"net": ([0, 1], {"x": torch.zeros(2)})})
    assert values(method) == pytest.approx([value - 0.15 * g for value, g in zip(START, GRADIENT, strict=True)])


def test_all_gradients_are_clipped_together(scalar) -> None:
    # |g|^2 = 2.25 + 9 + 1 + 0.0625 + 30.25 + 0.25 = 42.8125; a clip of 1 divides by its root, 6.5431.
    method = scalar(clip=1.0)
    method.step(LOST)
    assert values(method) == pytest.approx(
        [value - 0.1 * g / 6.54313 for value, g in zip(START, GRADIENT, strict=True)], abs=1e-5
    )


def test_a_generator_that_made_nothing_does_not_move(scalar) -> None:
    method = scalar(decay=0.2, momentum=0.5)
    method.shapes["other"] = {"x": ()}
    method.phi |= {"other.weight": torch.tensor([[4.0]]), "other.bias": torch.tensor([2.0])}
    method.momenta |= {"other.weight": torch.ones(1, 1), "other.bias": torch.ones(1)}
    method.step(LOST)
    assert values(method)[-2:] == [4.0, 2.0]
    assert values(method)[5] != 0.5


@pytest.mark.parametrize("names", [("mlp-4",), ("mlp-4", "linear")])
def test_one_client_step_makes_the_gradient_of_the_whole(world, names) -> None:
    # With one step of SGD, d_i = eta * dCE/dtheta, so the product with dH is eta times the gradient of
    # CE(f(x; H(v_i; phi))) through f and H, which autograd takes end to end; the mean over clients for phi.
    run = build(world, names, lr=0.3, inner_lr=0.7, **PLAIN)
    start = copied(run.method.phi)
    leaves = {name: tensor.requires_grad_() for name, tensor in copied(start).items()}
    losses = []
    for client, (x, y) in enumerate(world.private):
        name = run.architectures[client]
        made = hypernetwork(leaves, [client], name, run.method.shapes[name])
        weights = {key: tensor[0] for key, tensor in made.items()}
        logits = torch.func.functional_call(run.client_models(name).template, weights, (torch.from_numpy(x),))
        losses.append(F.cross_entropy(logits, torch.from_numpy(y)))
    gradients = torch.autograd.grad(sum(losses), list(leaves.values()))
    (row,) = run.rounds()
    for (name, found), gradient in zip(run.method.phi.items(), gradients, strict=True):
        clients = 1 if name == "embeddings" else 3
        assert float(gradient.abs().max()) > 1e-4
        torch.testing.assert_close(found, start[name] - 0.3 * 0.7 * gradient / clients, rtol=0, atol=1e-12)
    assert row.values["loss_local"] == pytest.approx(sum(losses).item() / 3, abs=1e-12)


def test_the_hypernetwork_is_a_perceptron(world) -> None:
    # Linear layers with ReLU between, none after the last; the generators' numbers in the order of the tensors.
    run = build(world, hidden=5, layers=2, embedding=2)
    phi = run.method.phi
    assert {name: tuple(tensor.shape) for name, tensor in phi.items()} == {
        "embeddings": (3, 2),
        **{"layer 0.weight": (5, 2), "layer 0.bias": (5,), "layer 1.weight": (5, 5), "layer 1.bias": (5,)},
        **{"layer 2.weight": (5, 5), "layer 2.bias": (5,), "mlp-4.weight": (27, 5), "mlp-4.bias": (27,)},
    }
    h = phi["embeddings"][1]
    for layer in range(3):
        h = phi[f"layer {layer}.weight"] @ h + phi[f"layer {layer}.bias"]
        h = h.clamp_min(0) if layer < 2 else h
    assert float(h.min()) < 0
    numbers = phi["mlp-4.weight"] @ h + phi["mlp-4.bias"]
    made = run.method.generated([0, 1], "mlp-4")
    assert list(made) == ["body.1.weight", "body.1.bias", "head.weight", "head.bias"]
    torch.testing.assert_close(torch.cat([tensor[1].flatten() for tensor in made.values()]), numbers)


def test_first_weights_are_drawn_as_torch_draws_them(world) -> None:
    run = build(world, run={"seed": 1})
    for name, tensor in run.method.phi.items():
        if name == "embeddings":
            continue
        bound = run.method.phi[name.replace("bias", "weight")].shape[1] ** -0.5
        assert 0.9 * bound < float(tensor.abs().max()) <= bound
        assert float(tensor.min()) < 0 < float(tensor.max())
        assert tensor.dtype == torch.float64
    # floor(1 + clients / 4) numbers for each client, standard normal.
    assert run.method.phi["embeddings"].shape == (3, 1)
    world.private = world.private * 400
    many = build(world).method.phi["embeddings"]
    assert many.shape == (1200, 301)
    assert (float(many.mean()), float(many.std())) == pytest.approx((0, 1), abs=0.01)


def test_the_seed_draws_the_hypernetwork_and_identities_the_embeddings(world, same_bits) -> None:
    first, again = build(world).method.phi, build(world).method.phi
    assert same_bits(first, again)
    other = build(world, run={"seed": 1}).method.phi
    assert all(not torch.equal(other[name], tensor) for name, tensor in first.items())
    renamed = build(world, run={"identities": (2, 0, 1)}).method.phi
    assert torch.equal(renamed["embeddings"], first["embeddings"][[2, 0, 1]])
    assert not torch.equal(first["embeddings"][0], first["embeddings"][1])
    assert all(torch.equal(renamed[name], first[name]) for name in first if name != "embeddings")


def test_equal_embeddings_make_equal_weights(world) -> None:
    run = build(world)
    run.method.phi["embeddings"][2] = run.method.phi["embeddings"][0]
    made = run.method.generated(list(CLIENTS), "mlp-4")
    assert all(torch.equal(tensor[0], tensor[2]) for tensor in made.values())
    assert not torch.equal(made["head.weight"][0], made["head.weight"][1])


def test_clients_train_from_what_is_generated_and_use_what_is_generated_next(world, same_bits) -> None:
    run = build(world, training={"rounds": 2})
    rounds = run.rounds()
    next(rounds)
    members = everyone(run)
    before, generated = members.weights, run.method.generated(list(CLIENTS), "mlp-4")
    assert same_bits(run.method.deployed(members, Round(0, 0, run.federation)).weights, generated)
    assert same_bits(run.method.views(members, Round(0, 0, run.federation))["+local"].weights, before)
    assert not same_bits(before, generated)
    next(rounds)
    twin = build(world, inner_optimizer="sgd").client_cohort("mlp-4", list(CLIENTS), Round(1, 0, run.federation))
    twin.load(generated)
    twin.fit(cross_entropy, optimizer=Optimizer("sgd", 0.02, 0.9, 5e-5))  # the defaults
    assert same_bits(members.weights, twin.weights)
    assert run.facts()["deployed"] == "generated"
    assert run.facts()["views"] == ["+local", "generated"]


def test_how_clients_train(world, same_bits) -> None:
    # Every epoch of these clients is one batch. With the run's optimizer, SGD at 0.5, or with the same of the method's
    # own; two epochs of the run, or two batches of the method's own.
    def trained(training: Any = None, **settings: Any) -> Tree:
        run = build(world, training=training, **settings)
        list(run.rounds())
        return everyone(run).weights

    own = trained(inner_lr=0.5, inner_momentum=0.0, inner_decay=0.0)
    assert same_bits(trained(inner_optimizer="run"), own)
    assert not same_bits(trained(inner_lr=0.5, inner_momentum=0.0, inner_decay=0.1), own)
    two = trained({"local_epochs": 2}, inner_lr=0.5)
    assert same_bits(trained(inner_steps=2, inner_lr=0.5), two)
    assert not same_bits(trained({"local_epochs": 2}, inner_lr=0.5, inner_momentum=0.0), two)


def test_generated_weights_meet_a_fresh_optimizer_in_every_round(world) -> None:
    run = build(world, training={"optimizer_state": "persist"})
    list(run.rounds())
    assert not run.client_models(run.architectures[0]).moments


def test_personal_heads_never_travel(world, same_bits) -> None:
    run = build(world, personal_head=True, training={"rounds": 2})
    start = everyone(run).weights
    (first, second) = run.rounds()
    assert list(run.method.shapes["mlp-4"]) == ["body.1.weight", "body.1.bias"]
    members = everyone(run)
    heads = {name: tensor for name, tensor in members.weights.items() if name.startswith("head")}
    assert not any(torch.equal(heads[name], start[name]) for name in heads)
    deployed = run.method.deployed(members, Round(1, 0, run.federation)).weights
    assert same_bits(deployed, {**heads, **run.method.generated(list(CLIENTS), "mlp-4")})
    for row in (first, second):  # 4 x 2 and 4 numbers
        assert all((client["bytes_up"], client["bytes_down"]) == (96, 96) for client in row.clients)
    with pytest.raises(Unsupported, match="pfedhn shares the clients' bodies, but that of linear has no parameters"):
        build(world, ("linear",), personal_head=True)


@pytest.mark.parametrize(("personal_head", "numbers"), [(False, 27), (True, 12)])
def test_bytes_of_parameters_from_the_first_round_on(world, personal_head, numbers) -> None:
    plan = METHODS["pfedhn"](METHODS["pfedhn"].config_type(personal_head=personal_head)).plan(
        client_facts(build(world))
    )
    assert (plan.up_bytes, plan.down_bytes, plan.first_down_bytes) == (8 * numbers,) * 3
    assert not plan.bound


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"inner_lr": 0.0}, "inner_lr must be above 0"),
        ({"lr": 0.0}, "lr must be above 0"),
        ({"clip": 0.0}, "clip must be above 0"),
        ({"hidden": 0}, "hidden must be above 0"),
        ({"inner_steps": 0}, "inner_steps must be above 0"),
        ({"embedding": 0}, "embedding must be above 0"),
        ({"inner_decay": -1.0}, "inner_decay must not be negative"),
        ({"decay": -1.0}, "decay must not be negative"),
        ({"layers": -1}, "layers must not be negative"),
        ({"inner_momentum": 1.0}, r"inner_momentum must be in \[0, 1\)"),
        ({"momentum": -0.1}, r"momentum must be in \[0, 1\)"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=f"pfedhn.{says}"):
        METHODS["pfedhn"].config_type(**settings)
