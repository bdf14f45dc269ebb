"""FML: both losses in NumPy over three rounds, its two null settings bit for bit, and memes averaged over networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from fl_bench.errors import ConfigError
from fl_bench.federation.rounds import Round
from fl_bench.federation.run import Run
from fl_bench.federation.settings import ModelMix, Training
from fl_bench.federation.trees import subtree
from fl_bench.methods.registry import METHODS

if TYPE_CHECKING:
    from fl_bench.federation.payloads import Tree


def probabilities(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits)
    return e / e.sum(axis=1, keepdims=True)


def nets(run: Run, part: str) -> Tree:
    (tree,) = run.client_weights().values()
    return subtree(tree, part)


@pytest.mark.parametrize("weights", ["uniform", "size"])
def test_three_rounds_against_numpy(deep_world, two_layers, steps_of_client, weights) -> None:
    # d/dlogits of alpha * CE + (1 - alpha) * KL(q || p) is (alpha * (p - onehot(y)) + (1 - alpha) * (p - q)) / n, with
    # p the learner's probabilities and q the other's; both are those before the step. Personal models start apart.
    deep_world.options = {"init": "per_client"}
    run = deep_world.build("fml", alpha=0.3, beta=0.8, weights=weights)
    personal, memes = two_layers(nets(run, "personal")), two_layers(nets(run, "shared"))
    assert memes[0] == memes[1] == memes[2]
    assert personal[0] != personal[1]
    for _ in run.rounds():
        pass
    meme = memes[0]
    for _ in range(deep_world.rounds):
        memes = [meme.copy() for _ in range(3)]
        for client, (x, y) in enumerate(deep_world.private):
            for _ in range(steps_of_client(client, deep_world.epochs)):
                p, q = probabilities(personal[client].logits(x)), probabilities(memes[client].logits(x))
                truth = np.eye(3)[y]
                personal[client].descend(x, (0.3 * (p - truth) + 0.7 * (p - q)) / len(x), deep_world.lr)
                memes[client].descend(x, (0.8 * (q - truth) + 0.2 * (q - p)) / len(x), deep_world.lr)
        meme = type(meme).mean(memes, [1, 1, 1] if weights == "uniform" else [3, 2, 1])
    assert two_layers(nets(run, "personal")) == personal
    assert two_layers(nets(run, "shared")) == memes
    assert two_layers(run.method.w) == [meme]


def test_alpha_1_is_local_only_bit_for_bit(deep_world, same_bits) -> None:
    alone = deep_world.run("local").client_weights()["mlp-4"]
    assert same_bits(nets(deep_world.run("fml", alpha=1.0), "personal"), alone)
    assert not same_bits(nets(deep_world.run("fml", alpha=0.9), "personal"), alone)


@pytest.mark.parametrize("weights", ["uniform", "size"])
def test_beta_1_makes_the_meme_fedavgs_model_bit_for_bit(deep_world, same_bits, weights) -> None:
    fedavg = deep_world.run("fedavg", weights=weights)
    run = deep_world.run("fml", beta=1.0, weights=weights)
    assert same_bits(nets(run, "shared"), fedavg.client_weights()["mlp-4"])
    assert same_bits(run.method.w, fedavg.method.w)


def test_memes_are_averaged_over_networks(world) -> None:
    # Clients 0 and 2 have an mlp-2 of their own, client 1 a linear net; the meme is the server's linear net for all.
    settings = Training(rounds=2, batch_size=3, optimizer="sgd", lr=0.5, precision="float64")
    mix = ModelMix(("mlp-2", "linear"), assignment=("mlp-2", "linear", "mlp-2"), server="linear")
    run = Run(METHODS["fml"](), world.dataset, world.split, mix, settings, seed=0)
    for _ in run.rounds():
        pass
    weights = {name: subtree(tree, "shared") for name, tree in run.client_weights().items()}
    for name in ("head.weight", "head.bias"):
        every = torch.cat([weights["mlp-2"][name], weights["linear"][name]])
        torch.testing.assert_close(run.method.w[name][0], every.mean(dim=0), rtol=0, atol=1e-15)
        assert not torch.equal(every[0], every[1])


def test_the_personal_model_is_deployed_and_the_meme_reported(deep_world, same_bits, moves_as_planned) -> None:
    run = deep_world.build("fml")
    assert moves_as_planned(run)
    assert run.facts()["deployed"] == "personal"
    assert run.facts()["views"] == ["meme", "personal"]
    rnd = Round(2, 0, run.federation)
    everyone = run.client_cohort("mlp-4", [0, 1, 2], rnd)
    assert same_bits(run.method.deployed(everyone, rnd).weights, nets(run, "personal"))
    meme = run.method.views(everyone, rnd)["meme"]
    assert same_bits(meme.weights, run.method.w)
    assert meme.index == (0, 0, 0)


def test_a_cohort_predicts_with_personal_models(deep_world) -> None:
    run = deep_world.run("fml")
    everyone = run.client_cohort("mlp-4", [0, 1, 2], Round(2, 0, run.federation))
    inputs = torch.from_numpy(deep_world.public)
    deployed = run.method.deployed(everyone, Round(2, 0, run.federation))
    assert torch.equal(everyone.predict(inputs, as_="logits")[1], deployed.logits(1, inputs).detach())


@pytest.mark.parametrize("settings", [{"alpha": -0.1}, {"alpha": 1.1}, {"beta": 2.0}, {"beta": float("nan")}])
def test_settings_out_of_range(settings: dict[str, float]) -> None:
    (name,) = settings
    with pytest.raises(ConfigError, match=rf"fml\.{name} must be in \[0, 1\]"):
        METHODS["fml"].config_type(**settings)
