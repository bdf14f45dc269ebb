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
from fl_bench.methods.hypernetwork import HyperNetwork
from fl_bench.methods.losses import cross_entropy
from fl_bench.methods.registry import METHODS

if TYPE_CHECKING:
    from fl_bench.federation.payloads import Tree

CLIENTS = range(3)
PLAIN: dict[str, Any] = {"inner_momentum": 0.0, "inner_decay": 0.0, "momentum": 0.0, "decay": 0.0, "clip": 1e9}
TRAINING = Training(rounds=1, local_epochs=1, batch_size=3, optimizer="sgd", lr=0.5, precision="float64")


def build(
    world: Any, names: tuple[str, ...] = ("mlp-4",), run: Any = None, training: Any = None, **settings: Any
) -> Any:
    config = METHODS["pfedhn"].config_type(**settings)
    training = replace(TRAINING, **(training or {}))
    return make_run(
        "pfedhn", world.dataset, world.split, training, config=config, models=ModelMix(names), **(run or {})
    )


def numbers(run: Any) -> Tree:
    """A copy of the hypernetwork's weights."""
    return {name: tensor.clone() for name, tensor in run.method.hypernetwork.state_dict().items()}


def everyone(run: Any, name: str = "mlp-4") -> Any:
    ids = [client for client in CLIENTS if run.architectures[client] == name]
    return run.client_cohort(name, ids, Round(0, 0, run.federation))


@pytest.fixture
def scalar(world):
    """Builds a method with one unit h = a v + c and one generated weight w h + g: a = 3, c = 1, w = 0.5, g = 0."""

    def make(**settings: Any) -> Any:
        method = build(world, **{**PLAIN, "lr": 0.1, "layers": 0, "hidden": 1, "embedding": 1, **settings}).method
        shapes = {"net": {"x": ()}, "other": {"x": ()}}
        method.hypernetwork = HyperNetwork(shapes, CLIENTS, embedding=1, hidden=1, layers=0, seed=0)
        for parameter, value in zip(
            method.hypernetwork.parameters(), ([[2.0], [-1], [5]], 3, 1, 0.5, 0, 4, 2), strict=True
        ):
            parameter.data = torch.tensor(value, dtype=torch.float64).expand(parameter.shape).clone()
        settings = method.optimizer.defaults
        method.optimizer = torch.optim.SGD(method.hypernetwork.parameters(), **settings)
        return method

    return make


def values(method: Any) -> list[float]:
    """v_0, v_1, v_2, a, c, w, g; and w and g of a generator that nobody has."""
    return [number for tensor in method.hypernetwork.parameters() for number in tensor.flatten().tolist()]


# v = (2, -1) makes h = (7, -2) and x = (3.5, -1). Training lost d = (1, -2) of x:
#   w: mean of d h  = (7 + 4) / 2 = 5.5      g: mean of d = -0.5        dL/dh = d w = (0.5, -1)
#   a: mean of dh v = (1 + 1) / 2 = 1        c: mean of dh = -0.25      v: dh a = (1.5, -3), each its own
LOST = {"net": ([0, 1], {"x": torch.tensor([1.0, -2.0], dtype=torch.float64)})}
GRADIENT = [1.5, -3.0, 0.0, 1.0, -0.25, 5.5, -0.5]
START = [2.0, -1.0, 5.0, 3.0, 1.0, 0.5, 0.0]
OTHER = [4.0, 2.0]


def test_a_step_by_hand(scalar) -> None:
    method = scalar()
    assert method.generated([0, 1], "net")["x"].tolist() == [3.5, -1.0]
    method.step(LOST)
    assert values(method) == pytest.approx([value - 0.1 * g for value, g in zip(START, GRADIENT, strict=True)] + OTHER)


def test_the_servers_decay_reaches_all(scalar) -> None:
    # Each gradient grows by decay times the number itself, that of the embedding of a client who stayed away too.
    method = scalar(decay=0.2)
    method.step(LOST)
    expected = [value - 0.1 * (g + 0.2 * value) for value, g in zip(START, GRADIENT, strict=True)]
    assert values(method) == pytest.approx(expected + OTHER)


def test_the_servers_momentum_lasts(scalar) -> None:
    # Nothing is lost in the second round, so its step is momentum alone: 0.5 times the first.
    method = scalar(momentum=0.5)
    method.step(LOST)
    method.step({"net": ([0, 1], {"x": torch.zeros(2, dtype=torch.float64)})})
    assert values(method) == pytest.approx([value - 0.15 * g for value, g in zip(START, GRADIENT, strict=True)] + OTHER)


def test_all_gradients_are_clipped_together(scalar) -> None:
    # |g|^2 = 2.25 + 9 + 1 + 0.0625 + 30.25 + 0.25 = 42.8125; a clip of 1 divides by its root, 6.5431.
    method = scalar(clip=1.0)
    method.step(LOST)
    assert values(method) == pytest.approx(
        [value - 0.1 * g / 6.54313 for value, g in zip(START, GRADIENT, strict=True)] + OTHER, abs=1e-5
    )


def test_a_generator_that_made_nothing_does_not_move(scalar) -> None:
    # Not even by the momentum of what it made before.
    method = scalar(decay=0.2, momentum=0.5)
    method.step({"other": LOST["net"]})
    (*_, weight, bias) = values(method)
    assert (weight, bias) != tuple(OTHER)
    method.step(LOST)
    assert values(method)[-2:] == [weight, bias]
    assert values(method)[5] != 0.5


class Second:
    """pFedHN once more, from autograd end to end with every update written out: one hidden layer, a net of one body."""

    def __init__(self, run: Any, **settings: float) -> None:
        self.run, self.settings = run, settings
        self.phi = numbers(run)
        self.momenta: Tree = {}

    def made(self, phi: Tree, client: int) -> Tree:
        h = phi["hidden.0.weight"] @ phi["embeddings.weight"][client] + phi["hidden.0.bias"]
        h = phi["hidden.2.weight"] @ h.clamp_min(0) + phi["hidden.2.bias"]
        numbers = phi["generators.0.weight"] @ h + phi["generators.0.bias"]
        body, rest = numbers[:12], numbers[12:]
        return {
            "body.1.weight": body[:8].view(4, 2),
            "body.1.bias": body[8:],
            "head.weight": rest[:12].view(3, 4),
            "head.bias": rest[12:],
        }

    def trained(self, weights: Tree, x: Any, y: Any, steps: int) -> Tree:
        """SGD with momentum and decay on all samples at once, with clipped gradients."""
        rate, momentum, decay = (self.settings[f"inner_{name}"] for name in ("lr", "momentum", "decay"))
        weights, moving = {name: tensor.detach() for name, tensor in weights.items()}, {}
        for _ in range(steps):
            leaves = {name: tensor.clone().requires_grad_() for name, tensor in weights.items()}
            z = (torch.from_numpy(x) @ leaves["body.1.weight"].T + leaves["body.1.bias"]).clamp_min(0)
            loss = F.cross_entropy(z @ leaves["head.weight"].T + leaves["head.bias"], torch.from_numpy(y))
            slopes = clipped(torch.autograd.grad(loss, list(leaves.values())), self.settings["inner_clip"])
            for (name, old), slope in zip(weights.items(), slopes, strict=True):
                moving[name] = momentum * moving.get(name, 0) + slope + decay * old
                weights[name] = old - rate * moving[name]
        return weights

    def turn(self, clients: list[int], data: Any, steps: Any) -> None:
        """Clients train on weights of this H, which then takes a step."""
        leaves = {name: tensor.clone().requires_grad_() for name, tensor in self.phi.items()}
        inner = torch.zeros((), dtype=torch.float64)
        for client in clients:
            made = self.made(leaves, client)
            after = self.trained(made, *data[client], steps(client))
            for name, tensor in made.items():
                inner = inner + (tensor * (tensor.detach() - after[name])).sum()  # its gradient is the product with dH
        slopes = [
            slope / (1 if name.startswith("embeddings") else len(clients))
            for name, slope in zip(leaves, torch.autograd.grad(inner, list(leaves.values())), strict=True)
        ]
        for name, slope in zip(leaves, clipped(slopes, self.settings["clip"]), strict=True):
            total = slope + self.settings["decay"] * self.phi[name]
            self.momenta[name] = self.settings["momentum"] * self.momenta.get(name, 0) + total
            self.phi[name] = self.phi[name] - self.settings["lr"] * self.momenta[name]


def clipped(slopes: Any, largest: float) -> list[Any]:
    norm = sum(float(slope.square().sum()) for slope in slopes) ** 0.5
    return [slope * min(1.0, largest / (norm + 1e-6)) for slope in slopes]


DEFAULTS = {"inner_lr": 5e-3, "inner_momentum": 0.9, "inner_decay": 5e-5, "inner_clip": 50.0}
DEFAULTS |= {"lr": 1e-2, "momentum": 0.9, "decay": 1e-3, "clip": 50.0}


@pytest.mark.parametrize("participation", [1.0, 0.7])
@pytest.mark.parametrize("server_step", ["sequential", "joint"])
@pytest.mark.parametrize(
    "settings",
    [{}, {"inner_lr": 0.2, "lr": 0.3, "inner_decay": 0.1, "decay": 0.05}, {"inner_clip": 0.1, "lr": 0.5, "clip": 1e-3}],
    ids=["defaults", "fast", "clipped"],
)
def test_two_rounds_against_a_second_implementation(
    deep_world, steps_of_client, server_step, settings, participation
) -> None:
    # Every batch of these clients is all that they have, so that three epochs are 3, 2 and 1 steps.
    run = build(
        deep_world,
        layers=1,
        hidden=6,
        training={"rounds": 2, "local_epochs": 3, "participation": participation},
        server_step=server_step,
        **settings,
    )
    second = Second(run, **{**DEFAULTS, **settings})
    rounds = run.rounds()
    for index in range(2):
        participants = run.participants(index)
        turns = run.method.turns(tuple(participants), Round(index, run.seeds.draws, run.federation))
        assert sorted(client for turn in turns for client in turn.clients) == list(participants)
        assert len(turns) == (len(participants) if server_step == "sequential" else 1)
        next(rounds)
        for turn in turns:
            second.turn(list(turn.clients), deep_world.private, lambda client: steps_of_client(client, 3))
        for name, tensor in run.method.hypernetwork.named_parameters():
            torch.testing.assert_close(tensor.detach(), second.phi[name], rtol=0, atol=1e-10)


@pytest.mark.parametrize("names", [("mlp-4",), ("mlp-4", "linear")])
def test_one_client_step_makes_the_gradient_of_the_whole(world, names) -> None:
    # With one step of SGD, d_i = eta * dCE/dtheta, so the product with dH is eta times the gradient of
    # CE(f(x; H(v_i; phi))) through f and H, which autograd takes end to end; the mean over clients for phi.
    run = build(world, names, lr=0.3, inner_lr=0.7, **PLAIN, server_step="joint")
    start, hypernetwork, losses = numbers(run), run.method.hypernetwork, []
    for client, (x, y) in enumerate(world.private):
        name = run.architectures[client]
        weights = {key: tensor[0] for key, tensor in hypernetwork([client], name).items()}
        logits = torch.func.functional_call(run.client_models(name).template, weights, (torch.from_numpy(x),))
        losses.append(F.cross_entropy(logits, torch.from_numpy(y)))
    gradients = torch.autograd.grad(sum(losses), list(hypernetwork.parameters()))
    (row,) = run.rounds()
    for (name, found), gradient in zip(numbers(run).items(), gradients, strict=True):
        clients = 1 if name == "embeddings.weight" else 3
        assert float(gradient.abs().max()) > 1e-4
        torch.testing.assert_close(found, start[name] - 0.3 * 0.7 * gradient / clients, rtol=0, atol=1e-12)
    assert row.values["loss_local"] == pytest.approx(sum(losses).item() / 3, abs=1e-12)


def test_the_hypernetwork_is_a_perceptron(world) -> None:
    # Linear layers with ReLU between, none after the last; the generators' numbers in the order of the tensors.
    run = build(world, hidden=5, layers=2, embedding=2)
    phi = numbers(run)
    assert {name: tuple(tensor.shape) for name, tensor in phi.items()} == {
        "embeddings.weight": (3, 2),
        **{"hidden.0.weight": (5, 2), "hidden.0.bias": (5,), "hidden.2.weight": (5, 5), "hidden.2.bias": (5,)},
        **{"hidden.4.weight": (5, 5), "hidden.4.bias": (5,)},
        **{"generators.0.weight": (27, 5), "generators.0.bias": (27,)},
    }
    h = phi["embeddings.weight"][1]
    for layer in (0, 2, 4):
        h = phi[f"hidden.{layer}.weight"] @ h + phi[f"hidden.{layer}.bias"]
        h = h.clamp_min(0) if layer < 4 else h
    assert float(h.min()) < 0
    found = phi["generators.0.weight"] @ h + phi["generators.0.bias"]
    made = run.method.generated([0, 1], "mlp-4")
    assert list(made) == ["body.1.weight", "body.1.bias", "head.weight", "head.bias"]
    torch.testing.assert_close(torch.cat([tensor[1].flatten() for tensor in made.values()]), found)


def test_first_weights_are_drawn_as_torch_draws_them(world) -> None:
    run = build(world, run={"seed": 1})
    phi = numbers(run)
    for name, tensor in phi.items():
        if name == "embeddings.weight":
            continue
        bound = phi[name.replace("bias", "weight")].shape[1] ** -0.5
        assert 0.9 * bound < float(tensor.abs().max()) <= bound
        assert float(tensor.min()) < 0 < float(tensor.max())
        assert tensor.dtype == torch.float64
    # floor(1 + clients / 4) numbers for each client, standard normal.
    assert phi["embeddings.weight"].shape == (3, 1)
    world.private = world.private * 400
    many = numbers(build(world))["embeddings.weight"]
    assert many.shape == (1200, 301)
    assert (float(many.mean()), float(many.std())) == pytest.approx((0, 1), abs=0.01)


def test_the_seed_draws_the_hypernetwork_and_identities_the_embeddings(world, same_bits) -> None:
    first, again = numbers(build(world)), numbers(build(world))
    assert same_bits(first, again)
    other = numbers(build(world, run={"seed": 1}))
    assert all(not torch.equal(other[name], tensor) for name, tensor in first.items())
    renamed = numbers(build(world, run={"identities": (2, 0, 1)}))
    embeddings = first.pop("embeddings.weight")
    assert torch.equal(renamed["embeddings.weight"], embeddings[[2, 0, 1]])
    assert not torch.equal(embeddings[0], embeddings[1])
    assert all(torch.equal(renamed[name], first[name]) for name in first)


def test_turns_follow_identities_and_are_drawn_anew(world) -> None:
    world.private = world.private * 4
    run, renamed = build(world), build(world, run={"identities": (*range(11, -1, -1),)})

    def orders(run: Any, *indices: int) -> list[list[int]]:
        rounds = [Round(index, run.seeds.draws, run.federation) for index in indices]
        return [[client for turn in run.method.turns(range(12), rnd) for client in turn.clients] for rnd in rounds]

    first, second, again = orders(run, 0, 1, 0)
    assert first == again != second
    assert sorted(first) == sorted(second) == list(range(12))
    assert orders(renamed, 0, 1) == [[11 - client for client in order] for order in (first, second)]


def test_weights_are_made_for_who_is_next_and_after_the_round_for_all(world) -> None:
    run, told = build(world), []
    server_update = run.method.server_update

    def heard(uploads: Any, rnd: Any) -> Any:
        downloads = server_update(uploads, rnd)
        told.append(sorted(client for parcel in downloads.parcels for client in parcel.address))
        return downloads

    run.method.server_update = heard
    list(run.rounds())
    _, second, third = (turn.clients for turn in run.method.turns((0, 1, 2), Round(0, run.seeds.draws, run.federation)))
    assert told == [list(second), list(third), [0, 1, 2]]


def test_equal_embeddings_make_equal_weights(world) -> None:
    run = build(world)
    embeddings = run.method.hypernetwork.embeddings.weight.data
    embeddings[2] = embeddings[0]
    made = run.method.generated(list(CLIENTS), "mlp-4")
    assert all(torch.equal(tensor[0], tensor[2]) for tensor in made.values())
    assert not torch.equal(made["head.weight"][0], made["head.weight"][1])


def test_clients_train_from_what_is_generated_and_use_what_is_generated_next(world, same_bits) -> None:
    run = build(world, training={"rounds": 2}, server_step="joint")
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
    twin.fit(cross_entropy, optimizer=Optimizer("sgd", 0.005, 0.9, 5e-5))  # the defaults
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
    assert list(run.method.hypernetwork.shapes["mlp-4"]) == ["body.1.weight", "body.1.bias"]
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
        ({"inner_clip": 0.0}, "inner_clip must be above 0"),
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
