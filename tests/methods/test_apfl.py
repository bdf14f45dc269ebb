"""APFL against NumPy with every rule for alpha, and its two ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fl_bench.errors import ConfigError
from fl_bench.federation.rounds import Round
from fl_bench.federation.trees import subtree
from fl_bench.methods.apfl import APFLConfig


def part(run, name: str):
    return subtree(run.client_weights()["mlp-4"], name)


class OfParameters:
    """The net alpha * v + (1 - alpha) * theta: its gradient g makes alpha * g for v and <v - theta, g> for alpha."""

    def __init__(self, alpha: float, v, theta) -> None:
        self.alpha, self.apart, self.net = (
            alpha,
            v.vector - theta.vector,
            v.at(alpha * v.vector + (1 - alpha) * theta.vector),
        )

    def logits(self, x):
        return self.net.logits(x)

    def gradients(self, x, y):
        g = self.net.gradient(x, y)
        return self.alpha * g, self.apart @ g


class OfLogits:
    """Logits alpha * z_v + (1 - alpha) * z_theta: their slope e makes alpha * e dz_v and <z_v - z_theta, e>."""

    def __init__(self, alpha: float, v, theta) -> None:
        self.alpha, self.v, self.theta = alpha, v, theta

    def logits(self, x):
        return self.alpha * self.v.logits(x) + (1 - self.alpha) * self.theta.logits(x)

    def gradients(self, x, y):
        e = np.exp(self.logits(x))
        slope = (e / e.sum(axis=1, keepdims=True) - np.eye(e.shape[1])[y]) / len(x)
        moved = self.v.copy()
        moved.descend(x, self.alpha * slope, 1.0)
        return self.v.vector - moved.vector, ((self.v.logits(x) - self.theta.logits(x)) * slope).sum()


MIXTURES = {"parameters": OfParameters, "logits": OfLogits}


@pytest.mark.parametrize("participation", [1.0, 0.7])
@pytest.mark.parametrize("mix", ["parameters", "logits"])
@pytest.mark.parametrize(
    ("settings", "reached"),
    [
        ({}, None),
        ({"adapt": "never", "alpha": 0.3, "weights": "uniform"}, 0.3),
        ({"adapt": "round", "alpha_lr": 0.4, "alpha_decay": 0.2}, None),
        ({"adapt": "round", "alpha_lr": 5.0, "alpha": 0.99, "alpha_decay": 0.0}, 1.0),
        ({"adapt": "round", "alpha_lr": 1.0, "alpha_decay": 0.9}, 0.0),
        ({"adapt": "batch", "alpha_lr": 5.0, "alpha": 0.95, "alpha_decay": 0.0}, 1.0),
        ({"adapt": "batch", "alpha_lr": 0.4, "alpha_decay": 0.9}, 0.0),
    ],
    ids=["defaults", "never", "round", "round-to-1", "round-to-0", "batch-to-1", "batch-to-0"],
)
def test_against_numpy(deep_world, two_layers, steps_of_client, settings, mix, reached, participation) -> None:
    # Most of these settings drive some client's alpha to a bound, where it is clipped.
    world, mixed, adapt = deep_world, MIXTURES[mix], settings.get("adapt", "round")
    world.rounds, world.options = 4, {"participation": participation}
    start = two_layers(part(world.build("apfl"), "shared"))
    run = world.run("apfl", mix=mix, **settings)
    rate, decay = settings.get("alpha_lr", world.lr), settings.get("alpha_decay", 0.02)
    sizes = np.array([1, 1, 1] if settings.get("weights") == "uniform" else [3, 2, 1])
    w, thetas, vs, alphas = start[0], list(start), list(start), [settings.get("alpha", 0.5)] * 3
    means, seen = [], set()
    for index in range(world.rounds):
        drawn = run.participants(index)
        for client in drawn:
            (x, y), theta, v, alpha = world.private[client], w, vs[client], alphas[client]
            for step in range(steps_of_client(client, world.epochs)):
                theta = theta.at(theta.vector - world.lr * theta.gradient(x, y))
                v = v.at(v.vector - world.lr * mixed(alpha, v, theta).gradients(x, y)[0])
                if adapt == "batch" or (adapt == "round" and step == 0):
                    slope = mixed(alpha, v, theta).gradients(x, y)[1] + decay * alpha
                    alpha = float(np.clip(alpha - rate * slope, 0, 1))
                seen.add(alpha)
            thetas[client], vs[client], alphas[client] = theta, v, alpha
        w = type(w).mean([thetas[client] for client in drawn], sizes[drawn])
        means.append(np.mean(alphas))
    assert (len(seen) == 1) == (adapt == "never")
    assert reached is None or reached in seen
    np.testing.assert_allclose(run.client_weights()["mlp-4"]["alpha"].numpy(), alphas, rtol=0, atol=1e-12)
    assert [row.values["alpha"] for row in run.rounds()] == pytest.approx(means, abs=1e-12)
    assert two_layers(part(run, "personal")) == vs
    assert two_layers(part(run, "shared")) == thetas
    rnd = Round(world.rounds - 1, 0, run.federation)
    clients = run.client_cohort("mlp-4", range(3), rnd)
    views = run.method.views(clients, rnd)
    assert two_layers(views["global"].weights) == [w]
    assert two_layers(views["+local"].weights) == thetas
    x = np.array([[0.5, -2.0], [1.5, 1.0]])
    for client, (alpha, v, theta) in enumerate(zip(alphas, vs, thetas, strict=True)):
        for view, other in ((run.method.deployed(clients, rnd), theta), (views["refreshed"], w)):
            found = view.logits(client, torch.from_numpy(x)).detach().numpy()
            np.testing.assert_allclose(found, mixed(alpha, v, other).logits(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9, "optimizer_state": "persist"}])
def test_alpha_1_is_local_only_bit_for_bit(deep_world, same_bits, options) -> None:
    deep_world.options = options
    run = deep_world.run("apfl", alpha=1.0, adapt="never")
    assert same_bits(part(run, "personal"), deep_world.run("local").client_weights()["mlp-4"])


def test_alpha_0_deploys_fedavgs_local_model_bit_for_bit(deep_world) -> None:
    run, fedavg = deep_world.run("apfl", alpha=0.0, adapt="never"), deep_world.run("fedavg")
    x = torch.tensor([[0.5, -2.0]], dtype=torch.float64)
    rnd = Round(2, 0, run.federation)
    deployed = run.method.deployed(run.client_cohort("mlp-4", range(3), rnd), rnd)
    trained = fedavg.client_cohort("mlp-4", range(3), rnd).deployed()
    for client in range(3):
        assert torch.equal(deployed.logits(client, x), trained.logits(client, x))


@pytest.mark.parametrize("adapt", ["round", "batch", "never"])
@pytest.mark.parametrize("mix", ["parameters", "logits"])
def test_w_is_fedavgs_whatever_v_and_alpha_are(deep_world, same_bits, adapt, mix) -> None:
    run, fedavg = deep_world.run("apfl", adapt=adapt, mix=mix), deep_world.run("fedavg")
    assert same_bits(part(run, "shared"), fedavg.client_weights()["mlp-4"])
    assert same_bits(run.method.w, fedavg.method.w)


@pytest.mark.parametrize("mix", ["parameters", "logits"])
def test_the_mixture_has_statistics_of_its_own(normed_world, mix) -> None:
    run = normed_world.run("apfl", mix=mix)
    tree = run.client_weights()["mlp-4"]
    assert tree["personal.body.1.num_batches_tracked"].tolist() == [9, 9, 9]  # of alpha's three steps, too
    assert tree["shared.body.1.num_batches_tracked"].tolist() == [6, 6, 6]
    assert not torch.equal(tree["personal.body.1.running_mean"], tree["shared.body.1.running_mean"])
    mean = tree["shared.body.1.running_mean"].mean(dim=0)
    torch.testing.assert_close(run.method.w["body.1.running_mean"][0], mean, rtol=0, atol=1e-15)


@pytest.mark.parametrize("mix", ["parameters", "logits"])
def test_both_engines_take_the_step_of_alpha_once(normed_world, mix) -> None:
    # One client has more batches than the others, which are done before it.
    normed_world.private[0] = tuple(np.concatenate([half] * 3) for half in normed_world.private[0])  # 9 of 3 a batch
    found = []
    for engine in ("loop", "stacked"):
        normed_world.options = {"engine": engine}
        run = normed_world.run("apfl", mix=mix, alpha_lr=0.5)
        found.append((run.client_weights()["mlp-4"], [row.values["steps_local"] for row in run.rounds()]))
    (loop, steps), (stacked, same) = found
    assert steps == same
    for name, tensor in loop.items():
        torch.testing.assert_close(stacked[name], tensor, rtol=0, atol=1e-12)


def test_alpha_is_not_clipped_with_the_weights(deep_world) -> None:
    # Within the clip of 0.01 alpha would move by 0.5 * 0.01 a round at most, three times.
    deep_world.lr, deep_world.options = 50.0, {"clip": 0.01}
    alpha = deep_world.run("apfl", alpha_lr=0.5, alpha_decay=0.0).client_weights()["mlp-4"]["alpha"]
    assert (alpha - 0.5).abs().max() > 0.015


def test_only_the_shared_model_travels(deep_world, moves_as_planned) -> None:
    run = deep_world.run("apfl")
    assert moves_as_planned(run)
    assert list(run.rounds())[1].clients[0]["bytes_up"] == (27 + 1) * 8  # the weights and the client's size
    assert run.facts()["deployed"] == "personal"
    assert run.facts()["views"] == ["+local", "global", "personal", "refreshed"]


@pytest.mark.parametrize("wrong", [{"alpha": -0.1}, {"alpha": 1.1}, {"alpha_lr": 0.0}, {"alpha_decay": -0.1}])
def test_impossible_settings_are_refused(wrong) -> None:
    with pytest.raises(ConfigError, match=rf"apfl\.{next(iter(wrong))}"):
        APFLConfig(**wrong)
