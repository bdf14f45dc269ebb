"""The order of a round of COSMOS, its controls and its diagnostics, against NumPy on both engines."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from fl_bench.cosmos.objectives import ConsistentDistillation
from fl_bench.cosmos.settings import CosmosConfig
from fl_bench.errors import ConfigError
from fl_bench.federation.rounds import Round
from fl_bench.methods.contract import TRAINING, Outcome, client_facts, deal, finish, made_up_data, make_run
from fl_bench.methods.registry import METHODS

if TYPE_CHECKING:
    from fl_bench.federation.deployed import Deployed
    from fl_bench.federation.run import Run

PLAIN = {"consistency": 0.0, "clip": None, "distill_epochs": 2, "distill_lr": 0.2, "server_epochs": 2, "server_lr": 0.4}
"""COSMOS without what NumPy would have to repeat: noise and clipping."""
ALONE = {**PLAIN, "clustering": "single", "feedback": "no_model"}
"""All clients learn from the mean of their predictions, without a server model."""
SCORES = 3 * 3 * 8
"""Bytes of the predictions of a client: three samples, three classes, float64."""


@pytest.fixture(params=["loop", "stacked"])
def engine(request: pytest.FixtureRequest, world) -> str:
    world.options["engine"] = request.param
    return str(request.param)


def models_of(tree: dict[str, torch.Tensor], kind: type) -> list[Any]:
    return [
        kind(w.numpy().copy(), b.numpy().copy()) for w, b in zip(tree["head.weight"], tree["head.bias"], strict=True)
    ]


def start_of_servers(world, **settings: Any) -> list[Any]:
    """The server's models before any training."""
    run = world.run("cosmos", **(settings | {"server_epochs": 0}))
    return models_of(run.method.servers.cohort.weights, type(world.start[0]))


def servers_of(world, run: Run) -> list[Any]:
    return models_of(run.method.servers.cohort.weights, type(world.start[0]))


def mean_prediction(world) -> np.ndarray:
    return np.mean([model.probabilities(world.public) for model in world.start], axis=0)


def train_all(world) -> None:
    for model, (x, y) in zip(world.start, world.private, strict=True):
        model.train(x, y, world.lr, steps=world.epochs)


def distil_all(world, told: np.ndarray) -> None:
    for model in world.start:
        model.distil(world.public, told, 0.2, steps=2)


def view_of(run: Run, name: str) -> Deployed:
    rnd = Round(run.training.rounds, 0, run.federation)
    return run.method.views(run.client_cohort("linear", range(3), rnd), rnd)[name]


@pytest.mark.usefixtures("engine")
class TestOrder:
    def test_distillation_comes_last_and_is_towards_the_same_round(self, world, assert_equal, weights_of) -> None:
        run = world.run("cosmos", order="distill_last", **ALONE)
        for _ in range(world.rounds):
            train_all(world)
            distil_all(world, mean_prediction(world))
        assert_equal(weights_of(run), world.start)

    def test_with_a_server_model_it_answers_inside_the_round(self, world, assert_equal, weights_of) -> None:
        settings = PLAIN | {"clustering": "single", "order": "distill_last"}
        (server,) = start_of_servers(world, **settings)
        run = world.run("cosmos", **settings)
        for _ in range(world.rounds):
            train_all(world)
            server.distil(world.public, mean_prediction(world), 0.4, steps=2)
            distil_all(world, server.probabilities(world.public))
        assert_equal(weights_of(run), world.start)
        assert_equal(servers_of(world, run), [server])

    def test_distil_only_trains_each_client_once(self, world, assert_equal, weights_of) -> None:
        run = world.run("cosmos", order="distill_last", distill_only=True, **ALONE)
        train_all(world)
        for _ in range(world.rounds):
            distil_all(world, mean_prediction(world))
        assert_equal(weights_of(run), world.start)


class TestBytes:
    @pytest.mark.parametrize("feedback", ["own_cluster", "max_conf_global", "no_model", "soft_mix"])
    def test_all_feedback_is_consumed_and_charged_where_distillation_comes_last(self, world, feedback: str) -> None:
        run = world.run("cosmos", order="distill_last", **(PLAIN | {"feedback": feedback}))
        for row in run.rounds():
            assert (row.values["bytes_up"], row.values["bytes_down"]) == (3 * SCORES, 3 * SCORES)
            assert (row.values["bytes_up_train"], row.values["bytes_down_train"]) == (3 * SCORES, 0)
            assert (row.values["bytes_up_distill"], row.values["bytes_down_distill"]) == (0, 3 * SCORES)
        assert run.facts()["bytes_undelivered"] == 0
        plan = run.method.plan(client_facts(run))
        assert (plan.up_bytes, plan.down_bytes, plan.first_down_bytes) == (SCORES, SCORES, SCORES)

    @pytest.mark.parametrize("feedback", ["own_cluster", "max_conf_global", "no_model", "soft_mix"])
    def test_nothing_waits_for_who_is_absent(self, world, feedback: str) -> None:
        world.rounds, world.options = 6, {"participation": 0.4}  # one of three clients a round
        run = world.run("cosmos", order="distill_last", **(PLAIN | {"feedback": feedback}))
        for t, row in enumerate(run.rounds()):
            (drawn,) = run.participants(t)
            assert [client["bytes_down"] for client in row.clients] == [SCORES * (i == drawn) for i in range(3)]
        assert run.facts()["bytes_undelivered"] == 0


class TestAfterDistill:
    @pytest.mark.usefixtures("engine")
    def test_it_is_the_model_before_local_training(self, world, assert_equal) -> None:
        run = world.run("cosmos", **ALONE)
        for t in range(world.rounds):
            if t > 0:
                distil_all(world, mean_prediction(world))
            before = [model.copy() for model in world.start]
            train_all(world)
        view = view_of(run, "after_distill")
        assert_equal([models_of(view.weights, type(before[0]))[row] for row in view.index], before)

    def test_in_the_first_round_it_is_the_initial_model(self, world, assert_equal) -> None:
        world.rounds = 1
        run = world.run("cosmos", **ALONE)
        assert_equal(models_of(view_of(run, "after_distill").weights, type(world.start[0])), world.start)

    def test_who_never_took_part_shows_what_it_has(self, world, assert_equal) -> None:
        world.rounds, world.options = 1, {"participation": 0.4}
        run = world.run("cosmos", **ALONE)
        assert_equal(models_of(view_of(run, "after_distill").weights, type(world.start[0])), world.start)

    @pytest.mark.parametrize("participation", [1.0, 0.67])
    def test_it_is_the_client_bit_for_bit_where_distillation_comes_last(self, world, participation: float) -> None:
        world.options = {"participation": participation}
        run = world.run("cosmos", order="distill_last", **(PLAIN | {"consistency": 1.0}))
        for row in run.rounds():
            scored = {key.partition(".")[2]: value for key, value in row.values.items() if key.startswith("client.")}
            assert scored
            for key, value in scored.items():
                assert row.values[f"after_distill.{key}"] == value
        view = view_of(run, "after_distill")
        assert view.index == (0, 1, 2)
        assert all(torch.equal(view.weights[key], value) for key, value in run.client_weights()["linear"].items())

    def test_nobody_keeps_a_copy_where_it_is_not_scored(self, world) -> None:
        assert world.run("cosmos", **PLAIN).client_models("linear").kept
        assert not world.run("cosmos", order="distill_last", **PLAIN).client_models("linear").kept
        world.options = {"views": "deployed"}
        assert not world.run("cosmos", **PLAIN).client_models("linear").kept


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    ("consistency", "server_consistency", "client", "server"),
    [(0.0, 2.0, 0.0, 2.0), (2.0, 0.0, 2.0, 0.0), (1.0, 3.0, 1.0, 3.0), (1.5, None, 1.5, 1.5)],
)
def test_each_side_has_its_weight_of_the_consistency_loss(
    world, assert_equal, weights_of, monkeypatch, consistency, server_consistency, client, server
) -> None:
    # The noisy copy is u + .3, so L_cons = 1/(C N) sum |p - p~|^2 with slopes 2/(C N) J(p)(p - p~) at u and
    # -2/(C N) J(p~)(p - p~) at u + .3, where J(p) d = p * (d - <p, d>).
    world.rounds = 2
    monkeypatch.setattr(ConsistentDistillation, "noisy", lambda self, batch: batch.x + 0.3)
    settings = PLAIN | {"clustering": "single"}
    (teacher,) = start_of_servers(world, **settings)
    run = world.run("cosmos", **(settings | {"consistency": consistency, "server_consistency": server_consistency}))

    def distil(model: Any, target: np.ndarray, lr: float, weight: float) -> None:
        for _ in range(2):
            p, q = model.probabilities(world.public), model.probabilities(world.public + 0.3)
            clean, noisy = (
                r * ((p - q) - (r * (p - q)).sum(axis=1, keepdims=True)) * 2 * weight / p.size for r in (p, q)
            )
            inputs = np.concatenate([world.public, world.public + 0.3])
            model.descend(inputs, np.concatenate([(p - target) / len(p) + clean, -noisy]), lr)

    for t in range(2):
        if t > 0:
            for model in world.start:
                distil(model, teacher.probabilities(world.public), 0.2, client)
        train_all(world)
        distil(teacher, mean_prediction(world), 0.4, server)
    assert_equal(weights_of(run), world.start)
    assert_equal(servers_of(world, run), [teacher])


@pytest.mark.usefixtures("engine")
def test_frozen_servers_answer_as_before(world, assert_equal, weights_of) -> None:
    settings = PLAIN | {"clustering": "single"}
    (teacher,) = start_of_servers(world, **settings)
    run = world.run("cosmos", server_rounds=1, server_reset=True, **settings)  # it is not reset any more either
    for t in range(world.rounds):
        if t > 0:
            distil_all(world, teacher.probabilities(world.public))
        train_all(world)
        if t == 0:
            teacher.distil(world.public, mean_prediction(world), 0.4, steps=2)
    assert_equal(weights_of(run), world.start)
    assert_equal(servers_of(world, run), [teacher])
    assert [row.values["steps_server"] for row in run.rounds()] == [2, 0, 0]


class TestOwnPast:
    @pytest.mark.usefixtures("engine")
    @pytest.mark.parametrize("order", ["distill_first", "distill_last"])
    def test_clients_learn_what_they_said_the_time_before_last(self, world, assert_equal, weights_of, order) -> None:
        world.rounds = 4
        run = world.run("cosmos", order=order, **(PLAIN | {"feedback": "own_past"}))
        for model, (x, y) in zip(world.start, world.private, strict=True):
            said: list[np.ndarray] = []
            for _ in range(world.rounds):
                if order == "distill_first" and len(said) >= 2:
                    model.distil(world.public, said[-2], 0.2, steps=2)
                model.train(x, y, world.lr, steps=world.epochs)
                said.append(model.probabilities(world.public))
                if order == "distill_last" and len(said) >= 2:
                    model.distil(world.public, said[-2], 0.2, steps=2)
        assert_equal(weights_of(run), world.start)
        received = [row.values["bytes_down"] // (3 * SCORES) for row in run.rounds()]
        assert received == ([0, 0, 1, 1] if order == "distill_first" else [0, 1, 1, 1])
        assert [row.values["steps_server"] for row in run.rounds()] == [0] * 4
        plan = run.method.plan(client_facts(run))
        assert (plan.down_bytes, plan.bound, plan.server_public_epochs) == (SCORES, True, 0)

    def test_who_has_sent_once_is_sent_nothing(self, world) -> None:
        world.rounds, world.options = 8, {"participation": 0.4}
        run = world.run("cosmos", **(PLAIN | {"feedback": "own_past"}))
        times = [0, 0, 0]
        for t, row in enumerate(run.rounds()):
            (drawn,) = run.participants(t)
            assert row.clients[drawn]["bytes_down"] == (SCORES if times[drawn] >= 2 else 0)
            times[drawn] += 1
        assert max(times) > 2


class TestOwnPredictions:
    """A client that is told what it predicts has a gradient of rounding, which Adam would make steps of."""

    @pytest.mark.parametrize("precision", ["float32", "float64"])
    @pytest.mark.parametrize("engine", ["loop", "stacked"])
    @pytest.mark.parametrize("order", ["distill_first", "distill_last"])
    def test_a_client_alone_without_a_server_model_is_local_only(self, order: str, engine: str, precision: str) -> None:
        for participation in (1.0, 0.4):
            training = replace(TRAINING, engine=engine, precision=precision, participation=participation)
            config = CosmosConfig(
                clustering="singleton",
                feedback="no_model",
                consistency=0.0,
                order=order,
                recluster=1,  # a late joiner would be the second in a cluster
            )
            cosmos, local = run_of("cosmos", training, config), run_of("local", training)
            assert all(torch.equal(cosmos.weights[key], value) for key, value in local.weights.items())
            assert {row["steps_distill"] for row in cosmos.rows} == {0}

    @pytest.mark.usefixtures("engine")
    def test_others_of_the_same_cohort_distil(self, world, assert_equal, weights_of) -> None:
        # Clusters {0, 2} and {1}: 0 and 2 learn from their mean, 1 is left alone.
        run = world.run("cosmos", **(PLAIN | {"clustering": "oracle", "feedback": "no_model"}))
        for t in range(world.rounds):
            if t > 0:
                told = np.mean([world.start[i].probabilities(world.public) for i in (0, 2)], axis=0)
                for i in (0, 2):
                    world.start[i].distil(world.public, told, 0.2, steps=2)
            train_all(world)
        assert_equal(weights_of(run), world.start)
        assert [row.values["steps_distill"] for row in run.rounds()] == [0, 4, 4]

    @pytest.mark.parametrize(
        ("settings", "options"),
        [({"temperature": 0.5}, {}), ({"consistency": 1.0}, {}), ({}, {"codec": "hard"})],
        ids=["temperature", "consistency", "codec"],
    )
    def test_who_has_something_to_learn_does(self, settings: dict[str, Any], options: dict[str, Any]) -> None:
        config = CosmosConfig(**{"clustering": "singleton", "feedback": "no_model", "consistency": 0.0, **settings})
        rows = run_of("cosmos", TRAINING, config, **options).rows
        assert all((row["steps_distill"] > 0) == (row["round"] > 0) for row in rows)


def run_of(name: str, training: Any, config: Any = None, **options: Any) -> Outcome:
    dataset = made_up_data()
    return finish(make_run(name, dataset, deal(dataset), training, config=config, **options))


class TestDiagnostics:
    @pytest.mark.usefixtures("engine")
    @pytest.mark.parametrize("temperature", [1.0, 0.5])
    def test_they_are_what_they_say(self, world, temperature: float) -> None:
        # Oracle clusters {0, 2} and {1}; the residuals are those of targets as they are trained on, sharpened.
        settings = PLAIN | {"clustering": "oracle", "temperature": temperature}
        teachers = start_of_servers(world, **settings)
        rows = [row.values for row in world.run("cosmos", diagnostics=True, **settings).rounds()]
        feedback: list[np.ndarray] = []
        last: list[np.ndarray] = []
        for t in range(world.rounds):
            if t > 0:
                targets = [sharpened(feedback[client % 2], temperature) for client in range(3)]
                for model, target in zip(world.start, targets, strict=True):
                    model.distil(world.public, target, 0.2, steps=2)
                left = [kl(q, model.probabilities(world.public)) for q, model in zip(targets, world.start, strict=True)]
                assert rows[t]["distill_residual"] == pytest.approx(np.mean(left), rel=1e-9)
            train_all(world)
            said = [model.probabilities(world.public) for model in world.start]
            if t > 0:
                moved = [np.linalg.norm(new - old) / 3**0.5 for new, old in zip(said, last, strict=True)]
                assert rows[t]["prediction_change"] == pytest.approx(np.mean(moved), rel=1e-9)
            means = [sharpened((said[0] + said[2]) / 2, temperature), sharpened(said[1], temperature)]
            for model, target in zip(teachers, means, strict=True):
                model.distil(world.public, target, 0.4, steps=2)
            feedback, last = [model.probabilities(world.public) for model in teachers], said
            left = [kl(target, q) for target, q in zip(means, feedback, strict=True)]
            assert rows[t]["server_residual"] == pytest.approx(np.mean(left), rel=1e-9)
        assert "distill_residual" not in rows[0]
        assert rows[0]["prediction_change"] is None

    def test_those_who_come_again_have_moved(self, world) -> None:
        world.rounds, world.options = 6, {"participation": 0.4}
        run = world.run("cosmos", diagnostics=True, **PLAIN)
        seen: set[int] = set()
        for t, row in enumerate(run.rounds()):
            (drawn,) = run.participants(t)
            assert (row.values["prediction_change"] is not None) == (drawn in seen)
            seen.add(drawn)

    @pytest.mark.parametrize("order", ["distill_first", "distill_last"])
    def test_looking_changes_no_bit(self, order: str) -> None:
        config = CosmosConfig(order=order, distill_epochs=1, server_epochs=1)
        blind, seeing = (run_of("cosmos", TRAINING, replace(config, diagnostics=flag)) for flag in (False, True))
        assert all(torch.equal(blind.weights[key], value) for key, value in seeing.weights.items())
        columns = {"distill_residual", "server_residual", "prediction_change"}
        for row, other in zip(blind.rows, seeing.rows, strict=True):
            assert row == {key: value for key, value in other.items() if key not in columns}
            assert not columns & row.keys()


def sharpened(p: np.ndarray, temperature: float) -> np.ndarray:
    powered = p ** (1 / temperature)
    return np.asarray(powered / powered.sum(axis=1, keepdims=True))


def kl(target: np.ndarray, p: np.ndarray) -> float:
    return float((target * np.log(target / p)).sum(axis=1).mean())


@pytest.mark.parametrize(
    ("wrong", "key"), [({"server_consistency": -1.0}, "server_consistency"), ({"server_rounds": -1}, "server_rounds")]
)
def test_impossible_settings_are_refused(wrong: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=f"cosmos.{key}"):
        CosmosConfig(**wrong)


def test_orders_and_controls_are_other_runs_and_defaults_the_same() -> None:
    method = METHODS["cosmos"]
    assert len(method().turns((0, 1), None)) == 1  # type: ignore[arg-type]  # it asks nothing of the round
    names = [turn.name for turn in method(CosmosConfig(order="distill_last")).turns((0, 1), None)]  # type: ignore[arg-type]
    assert names == ["train", "distill"]
