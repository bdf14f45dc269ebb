"""FedAvg against hand-derived numbers and softmax regression in NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from fl_bench.errors import ConfigError
from fl_bench.federation.rounds import Round
from fl_bench.methods.fedavg import FedAvgConfig
from fl_bench.methods.losses import cross_entropy


def test_one_round_by_hand(world, served) -> None:
    # All weights start at 0, so every class has probability 1/3 and dL/dz = (1/3 - onehot(y)) / n.
    # Client 0 holds x = (2, -1) once with label 0, client 1 holds x = (-1, 0) three times with label 1; one full step:
    #   client 0: dL/dz = (-2/3, 1/3, 1/3); with lr 0.3, W_0 = 0.2 * (2, -1) = (0.4, -0.2), b = (0.2, -0.1, -0.1)
    #   client 1: dL/dz = (1/3, -2/3, 1/3); W_0 = -0.1 * (-1, 0) = (0.1, 0),              b = (-0.1, 0.2, -0.1)
    # By size the average counts them 1/4 and 3/4: W_0 = (0.175, -0.05), b = (-0.025, 0.125, -0.1).
    # Uniformly: W_0 = (0.25, -0.1), b = (0.05, 0.05, -0.1).
    world.private = [
        (np.array([[2.0, -1.0]]), np.array([0])),
        (np.array([[-1.0, 0.0]] * 3), np.array([1, 1, 1])),
    ]
    world.start = [type(model)(0 * model.w, 0 * model.b) for model in world.start[:2]]
    world.lr, world.rounds, world.epochs = 0.3, 1, 1
    for weights, w0, b in (
        ("size", [0.175, -0.05], [-0.025, 0.125, -0.1]),
        ("uniform", [0.25, -0.1], [0.05, 0.05, -0.1]),
    ):
        run = world.run("fedavg", weights=weights)
        rnd = Round(0, 0, run.federation)
        model = served(run.method.deployed(run.client_cohort("linear", [0, 1], rnd), rnd))
        assert model.w[0] == pytest.approx(w0, abs=1e-12)
        assert model.b == pytest.approx(b, abs=1e-12)


def test_three_rounds_against_numpy(world, weights_of, assert_equal, served) -> None:
    start = world.start[0]
    world.start = [start.copy() for _ in range(3)]  # FedAvg needs equal initial weights
    run = world.run("fedavg")
    server = start.copy()
    for _ in range(world.rounds):
        models = []
        for x, y in world.private:
            model = server.copy()
            model.train(x, y, world.lr, steps=world.epochs)
            models.append(model)
        server = type(start)(np.mean([m.w for m in models], axis=0), np.mean([m.b for m in models], axis=0))
    assert_equal(weights_of(run), models)  # the view `+local`: what clients hold after their local phase
    rnd = Round(2, 0, run.federation)
    assert_equal([served(run.method.deployed(run.client_cohort("linear", [0, 1, 2], rnd), rnd))], [server])


def test_one_client_is_local_only_bit_for_bit(world, weights_of) -> None:
    world.private, world.start = world.private[:1], world.start[:1]
    (averaged,), (alone,) = weights_of(world.run("fedavg")), weights_of(world.run("local"))
    assert (averaged.w == alone.w).all()
    assert (averaged.b == alone.b).all()


def test_views_are_the_server_model_and_the_local_models(world) -> None:
    run = world.run("fedavg")
    assert run.facts()["deployed"] == "global"
    assert run.facts()["views"] == ["+local", "global"]


def test_fine_tuning_is_a_view_and_leaves_no_trace(deep_world, two_layers, steps_of_client, same_bits) -> None:
    # From the new w, 3 epochs at a client of size 3 are 3 steps, at one of size 2 two, at one of size 1 one.
    tuned, plain = deep_world.run("fedavg", finetune_epochs=3), deep_world.run("fedavg")
    assert same_bits(tuned.client_weights()["mlp-4"], plain.client_weights()["mlp-4"])
    assert same_bits(tuned.method.w, plain.method.w)
    rnd = Round(2, 0, tuned.federation)
    views = tuned.method.views(tuned.client_cohort("mlp-4", range(3), rnd), rnd)
    assert two_layers(views["+local"].weights) == two_layers(plain)
    expected = []
    for client, (x, y) in enumerate(deep_world.private):
        (net,) = two_layers(tuned.method.w)
        net.train(x, y, deep_world.lr, steps=steps_of_client(client, 3))
        expected.append(net)
    assert two_layers(views["+finetuned"].weights) == expected
    for row, same in zip(tuned.rounds(), plain.rounds(), strict=True):
        assert row.values["steps_finetune"] == 3 + 2 + 1
        assert row.values["steps_local"] == same.values["steps_local"]
        assert "steps_finetune" not in same.values
    assert tuned.facts()["views"] == ["+finetuned", "+local", "global"]
    assert plain.facts()["views"] == ["+local", "global"]


def test_fine_tuning_has_batches_of_its_own(world) -> None:
    # Batches of one of two samples: were the stream that of local training, both phases would see the same orders.
    def weights(stream: str) -> list[float]:
        run = world.build("fedavg", finetune_epochs=1)
        rnd = Round(0, 0, run.federation)
        clients = run.client_cohort("linear", range(3), rnd)
        if stream == "view":
            run.method.w = clients.weights
            return run.method.views(clients, rnd)["+finetuned"].weights["head.bias"].flatten().tolist()
        clients.fit(cross_entropy, epochs=1, stream=stream)
        return clients.weights["head.bias"].flatten().tolist()

    world.private = [(x[[0, 1]], y[[0, 1]]) for x, y in world.private]
    found = weights("view")
    assert found == weights("finetune")
    assert found != weights("local")


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"fedavg\.finetune_epochs"):
        FedAvgConfig(finetune_epochs=-1)
