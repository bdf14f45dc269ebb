"""The pooled bounds against softmax regression in NumPy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fl_bench.errors import ConfigError
from fl_bench.federation.rounds import Round
from fl_bench.federation.run import Run
from fl_bench.federation.settings import ModelMix, Training
from fl_bench.methods.centralized import Centralized, CentralizedConfig, CentralizedGroup

TRAINING = Training(rounds=2, batch_size=12, optimizer="sgd", lr=0.5, precision="float64")


def pooled_run(world, method, batch_size: int):
    run = Run(
        method, world.dataset, world.split, ModelMix(("linear",)), replace(TRAINING, batch_size=batch_size), seed=0
    )
    start = method.pool.weights
    start = type(world.start[0])(start["head.weight"][0].numpy().copy(), start["head.bias"][0].numpy().copy())
    for _ in run.rounds():
        pass
    rnd = Round(1, 0, run.federation)
    return run, start, method.deployed(run.client_cohort("linear", [0, 1, 2], rnd), rnd)


def expected(start, x, y, steps: int = 2):
    model = start.copy()
    model.train(x, y, 0.5, steps=steps)  # by default one full batch a round, two rounds
    return model


def test_centralized_trains_one_model_on_all_private_data(world, served, assert_equal) -> None:
    run, start, deployed = pooled_run(world, Centralized(), batch_size=9)
    x, y = (np.concatenate(part) for part in zip(*world.private, strict=True))
    assert_equal([served(deployed)], [expected(start, x, y)])
    assert run.facts()["badges"] == []
    assert deployed.index == (0, 0, 0)


def test_with_public_it_also_sees_the_public_labels_and_says_so(world, served, assert_equal) -> None:
    run, start, deployed = pooled_run(world, Centralized(CentralizedConfig(with_public=True)), batch_size=12)
    x, y = (np.concatenate(part) for part in zip(*world.private, (world.public, [0, 1, 2]), strict=True))
    assert_equal([served(deployed)], [expected(start, x, y)])
    assert run.facts()["badges"] == ["oracle: public labels (centralized)"]


def test_group_bound_has_a_model_per_true_group(world) -> None:
    run, start, deployed = pooled_run(world, CentralizedGroup(), batch_size=6)
    assert deployed.index == (0, 1, 0)  # clients 0 and 2 are group 0, client 1 is group 1
    x, y = (np.concatenate(part) for part in zip(world.private[0], world.private[2], strict=True))
    model = expected(start, x, y)
    np.testing.assert_allclose(deployed.weights["head.weight"][0].numpy(), model.w, atol=1e-12)
    assert run.facts()["badges"] == ["oracle: true groups (centralized-group)"]


def test_a_bound_may_train_longer_than_clients_do(world, served, assert_equal) -> None:
    # nine samples in a full batch: four passes in each of two rounds are eight steps
    _, start, deployed = pooled_run(world, Centralized(CentralizedConfig(epochs=4)), batch_size=9)
    x, y = (np.concatenate(part) for part in zip(*world.private, strict=True))
    assert_equal([served(deployed)], [expected(start, x, y, steps=8)])
    with pytest.raises(ConfigError, match=r"centralized\.epochs must be above 0, got 0"):
        CentralizedConfig(epochs=0)
