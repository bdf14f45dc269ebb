"""FedDF against Adam and softmax regression in NumPy, with one architecture and with two."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from fl_bench.benchmarks.grid.configure import plain
from fl_bench.errors import ConfigError, Unsupported
from fl_bench.federation.batches import positions
from fl_bench.federation.rounds import Round
from fl_bench.federation.run import Run
from fl_bench.federation.settings import ModelMix, Training
from fl_bench.methods.feddf import FedDF, FedDFConfig
from fl_bench.streams import numpy_stream

if TYPE_CHECKING:
    from fl_bench.datasets.split import Split
    from fl_bench.federation.payloads import Tree


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


class Student:
    """Softmax regression under Adam with a cosine and clipping, everything written out."""

    def __init__(self, model, lr: float, steps: int, clip: float) -> None:
        self.model, self.lr, self.steps, self.clip, self.taken, self.losses = model, lr, steps, clip, 0, []
        self.m = [np.zeros_like(model.w), np.zeros_like(model.b)]
        self.v = [np.zeros_like(model.w), np.zeros_like(model.b)]

    def step(self, x: np.ndarray, lessons: list[np.ndarray], tau: float) -> None:
        """Mean over lessons q of KL(q || softmax(z / tau)), whose dL/dz is (p - mean q) / (n tau)."""
        p = softmax(self.model.logits(x) / tau)
        self.losses.append(np.mean([(q * np.log(q / p)).sum(axis=1).mean() for q in lessons]))
        slope = (p - np.mean(lessons, axis=0)) / (len(x) * tau)
        gradients = [slope.T @ x, slope.sum(axis=0)]
        norm = np.sqrt(sum((g**2).sum() for g in gradients))
        lr = self.lr / 2 * (1 + np.cos(np.pi * self.taken / self.steps))
        self.taken += 1
        for i, g in enumerate(gradients):
            g = g * min(1.0, self.clip / (norm + 1e-6))
            self.m[i] = 0.9 * self.m[i] + 0.1 * g
            self.v[i] = 0.999 * self.v[i] + 0.001 * g**2
            update = self.m[i] / (1 - 0.9**self.taken) / (np.sqrt(self.v[i] / (1 - 0.999**self.taken)) + 1e-8)
            if i == 0:
                self.model.w = self.model.w - lr * update
            else:
                self.model.b = self.model.b - lr * update


def lessons_of(logits: list[np.ndarray], ensemble: str, tau: float) -> list[np.ndarray]:
    if ensemble == "avg_logits":
        return [softmax(np.mean(logits, axis=0) / tau)]
    soft = [softmax(z / tau) for z in logits]
    return [np.mean(soft, axis=0)] if ensemble == "avg_probs" else soft


def average(models: list, shares: list[float]):
    return type(models[0])(
        sum(share * m.w for share, m in zip(shares, models, strict=True)),
        sum(share * m.b for share, m in zip(shares, models, strict=True)),
    )


def build(world, models: tuple[str, ...], options: dict, split: Split | None = None, **settings) -> Run:
    """A run of three clients; with two architectures clients 0 and 1 have the first, client 2 the second."""
    options = {"rounds": world.rounds, "local_epochs": world.epochs, "batch_size": 3} | options
    training = Training(optimizer="sgd", lr=world.lr, precision="float64", **options)
    method = FedDF(FedDFConfig(**settings))
    return Run(method, world.dataset, split or world.split, ModelMix(models), training, seed=0)


def judged(world, models: tuple[str, ...], right: list[list[bool]], options: dict, **settings) -> Run:
    """The same for one round, with validation samples that the trained models classify as told.

    Validation takes no part in training, so a run without the setting has the models to choose labels by.
    """
    options, kept = {"rounds": 1} | options, [len(y) for _, y in world.private]
    trained = build(world, models, options, server_epochs=0)
    if models == ("linear",):
        world.set_start(trained)
    list(trained.rounds())
    inputs = np.random.default_rng(8).normal(size=(max(map(len, right)), 2))
    for client, answers in enumerate(right):
        cohort = trained.client_cohort(trained.architectures[client], [client], Round(0, 0, trained.federation))
        shown = inputs[: len(answers)]
        says = cohort.predict(torch.from_numpy(shown))[0].argmax(dim=1).numpy()
        x, y = world.private[client]
        labels = [said if answer else (said + 1) % 3 for said, answer in zip(says, answers, strict=True)]
        world.private[client] = np.concatenate([x, shown]), np.concatenate([y, np.array(labels, dtype=int)])
    dealt = world.split
    parts = [np.split(rows, [count]) for rows, count in zip(dealt.train, kept, strict=True)]
    train, validation = zip(*parts, strict=True)
    run = build(world, models, options, split=replace(dealt, train=train, validation=validation), **settings)
    if models == ("linear",):
        world.set_start(run)
    return run


def students(run: Run) -> dict[str, Tree]:
    return run.method.students


def equal_start(world) -> None:
    world.start = [world.start[0].copy() for _ in world.start]


@pytest.mark.parametrize(
    ("ensemble", "tau", "weights"),
    [
        ("avg_logits", 1.0, "size"),
        ("avg_logits", 2.5, "size"),
        ("avg_probs", 2.5, "uniform"),
        ("avg_losses", 2.5, "uniform"),
    ],
)
def test_three_rounds_against_numpy(
    world, weights_of, assert_equal, served, ensemble: str, tau: float, weights: str
) -> None:
    # Public batches of two out of three samples: the order is that of the stream ("server", round), and the phase has
    # ceil(2 * 3 / 2) = 3 steps. The clip binds in some of them. Client 0 holds one sample, so by size clients count
    # 1/7, 3/7 and 3/7; in two passes it takes one step, on that sample twice. (Logits and weights averaged alike would
    # teach a linear student nothing: test_the_average_of_linear_models_has_the_average_logits.)
    equal_start(world)
    x, y = world.private[0]
    world.private[0] = (x[:1], y[:1])
    settings = {"ensemble": ensemble, "temperature": tau, "weights": weights, "server_epochs": 2, "server_lr": 0.05}
    run = build(world, ("linear",), {"batch_size": 2}, clip=0.02, **settings)
    world.set_start(run)
    rows = [row.values for row in run.rounds()]
    shares = [1 / 3] * 3 if weights == "uniform" else [1 / 7, 3 / 7, 3 / 7]
    server, losses = world.start[0], []
    for t in range(world.rounds):
        models = []
        for client, (xs, ys) in enumerate(world.private):
            model, steps = server.copy(), -(-2 * len(xs) // 2)
            for batch in positions(len(xs), steps, 2, numpy_stream(0, "local", client, t)):
                model.train(xs[batch], ys[batch], world.lr)
            models.append(model)
        lessons = lessons_of([m.logits(world.public) for m in models], ensemble, tau)
        student = Student(average(models, shares), 0.05, 3, 0.02)
        for batch in positions(3, 3, 2, numpy_stream(0, "server", t)):
            student.step(world.public[batch], [lesson[batch] for lesson in lessons], tau)
        server = student.model
        losses.append(np.mean(student.losses))
    assert_equal(weights_of(run), models)  # the view `+local`
    rnd = Round(2, 0, run.federation)
    assert_equal([served(run.method.deployed(run.client_cohort("linear", [0, 1, 2], rnd), rnd))], [server])
    assert [row["loss_server"] for row in rows] == pytest.approx(losses, abs=1e-9)


def test_losses_towards_each_teacher_have_the_gradient_of_the_mean_teacher(world, weights_of) -> None:
    # KL(q_i || p) = sum q_i ln q_i - sum q_i ln p; only the second sum depends on p, and it is linear in q_i.
    # The orders of summation differ, so the last bits may.
    equal_start(world)
    for one, other in zip(
        weights_of(world.run("feddf", ensemble="avg_losses")),
        weights_of(world.run("feddf", ensemble="avg_probs")),
        strict=True,
    ):
        np.testing.assert_allclose(one.w, other.w, rtol=0, atol=1e-9)


@pytest.mark.parametrize("weights", ["uniform", "size"])
def test_without_distillation_it_is_fedavg_bit_for_bit(world, weights_of, weights: str) -> None:
    equal_start(world)
    x, y = world.private[0]
    world.private[0] = (x[:1], y[:1])
    fused, averaged = world.run("feddf", server_epochs=0, weights=weights), world.run("fedavg", weights=weights)
    for one, other in zip(weights_of(fused), weights_of(averaged), strict=True):
        assert (one.w == other.w).all()
        assert (one.b == other.b).all()


def test_every_upload_teaches_the_average_of_its_own_architecture(world) -> None:
    # Clients 0 and 1 are linear, client 2 is mlp-2: the linear student starts from the mean of two and is taught by
    # the mean logits of all three; the mlp-2 student starts from client 2.
    run = build(world, ("linear", "mlp-2"), {"rounds": 1}, server_epochs=2, server_lr=0.05)
    list(run.rounds())
    assert run.architectures == ("linear", "linear", "mlp-2")
    linear, mlp = run.client_weights()["linear"], run.client_weights()["mlp-2"]
    softmax_regression = type(world.start[0])
    models = [
        softmax_regression(w.numpy(), b.numpy())
        for w, b in zip(linear["head.weight"], linear["head.bias"], strict=True)
    ]
    w1, b1, w2, b2 = (mlp[name][0].numpy() for name in ("body.1.weight", "body.1.bias", "head.weight", "head.bias"))
    deep = np.maximum(world.public @ w1.T + b1, 0) @ w2.T + b2
    lessons = [softmax(np.mean([*(model.logits(world.public) for model in models), deep], axis=0))]
    student = Student(average(models, [0.5, 0.5]), 0.05, 2, 5.0)
    for _ in range(2):
        student.step(world.public, lessons, 1.0)
    found = students(run)["linear"]
    np.testing.assert_allclose(found["head.weight"][0].numpy(), student.model.w, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found["head.bias"][0].numpy(), student.model.b, rtol=0, atol=1e-9)
    moved = (students(run)["mlp-2"]["head.bias"][0] - mlp["head.bias"][0]).abs().numpy()
    # Adam's first step is lr times the sign of the gradient, 0.05; the second has half that rate.
    assert ((moved > 0.02) & (moved < 0.08)).all()


def test_two_architectures_without_distillation_are_two_fedavgs(world) -> None:
    run = build(world, ("linear", "mlp-2"), {"rounds": 1}, server_epochs=0)
    (row,) = run.rounds()
    for architecture, weights in run.client_weights().items():
        for name, tensor in weights.items():
            np.testing.assert_allclose(students(run)[architecture][name][0], tensor.mean(dim=0), rtol=0, atol=1e-12)
    # linear: 2 * 3 + 3 = 9 numbers; mlp-2: 2 * 2 + 2 + 2 * 3 + 3 = 15; in float64, nothing received in round 0
    assert [(client["bytes_up"], client["bytes_down"]) for client in row.clients] == [(72, 0), (72, 0), (120, 0)]


def test_each_architecture_gets_its_own_student(world) -> None:
    run = build(world, ("linear", "mlp-2"), {"rounds": 2, "local_epochs": 1}, server_epochs=1)
    rounds = run.rounds()
    next(rounds)
    told = {name: {key: value.clone() for key, value in tree.items()} for name, tree in students(run).items()}
    row = next(rounds)
    assert [client["bytes_down"] for client in row.clients] == [72, 72, 120]
    x, y = world.private[2]
    w1, b1, w2, b2 = (
        told["mlp-2"][name][0].numpy() for name in ("body.1.weight", "body.1.bias", "head.weight", "head.bias")
    )
    features = np.maximum(x @ w1.T + b1, 0)
    slope = (softmax(features @ w2.T + b2) - np.eye(3)[y]) / 3
    found = run.client_weights()["mlp-2"]["head.bias"][0].numpy()
    np.testing.assert_allclose(found, b2 - world.lr * slope.sum(axis=0), rtol=0, atol=1e-12)


def one_step_moves(world, **settings: str) -> float:
    """How far one step of distillation moves the student from the average of the uploads."""
    world.rounds, found = 1, []
    for epochs in (0, 1):
        run = world.build("feddf", server_epochs=epochs, **settings)
        (row,) = run.rounds()
        assert row.values["loss_server"] == pytest.approx(0, abs=0 if epochs == 0 else 1e-15)
        found.append(students(run)["linear"])
    return max(float((found[0][name] - found[1][name]).abs().max()) for name in found[0])


# Adam divides gradients of 1e-17 by 1e-8: the first step, of rate 1e-3, moves a weight by less than 1e-11. (Later steps
# magnify that up to their rate, whatever the gradients; so one step is all that can be compared with nothing.)


def test_clients_that_agree_teach_nothing(world) -> None:
    equal_start(world)
    world.private = [world.private[0]] * 3
    assert one_step_moves(world) < 1e-10


def test_one_client_is_its_own_student(world) -> None:
    world.private, world.start = world.private[:1], world.start[:1]
    assert one_step_moves(world) < 1e-10


def test_the_average_of_linear_models_has_the_average_logits(world) -> None:
    equal_start(world)
    assert one_step_moves(world, ensemble="avg_logits") < 1e-10


def test_an_architecture_that_nobody_brings_waits_as_it_is(world) -> None:
    run = build(world, ("linear", "mlp-2"), {"rounds": 6, "participation": 0.34})
    seen: dict[str, Tree] = {}
    for t, _ in enumerate(run.rounds()):
        (client,) = run.participants(t)
        rnd = Round(t, 0, run.federation)
        for name, ids in (("linear", [0, 1]), ("mlp-2", [2])):
            deployed = run.method.deployed(run.client_cohort(name, ids, rnd), rnd).weights
            waiting = seen.get(name, run.federation.start[name])
            same = all((deployed[key] == waiting[key]).all() for key in waiting)
            assert same == (run.architectures[client] != name)
            seen[name] = {key: tensor.clone() for key, tensor in deployed.items()}
    assert {run.architectures[client] for t in range(6) for client in run.participants(t)} == {"linear", "mlp-2"}


HALF, NONE, ALL = [True, False], [False, False], [True]


@pytest.mark.parametrize(
    ("drop_below", "right", "teachers"),
    [
        # guessing has 1/3, so 1.2 asks for 0.4
        (1.2, [HALF, NONE, ALL], [0, 2]),
        (1.5, [HALF, NONE, ALL], [0, 2]),  # asks for 1/2, and client 0 is not below
        (1.6, [HALF, NONE, ALL], [2]),
        (1.6, [NONE, ALL, []], [1, 2]),  # client 2 has nothing to be judged by
        (1.2, [NONE, NONE, NONE], []),
    ],
)
def test_weak_models_do_not_teach(
    world, moves_as_planned, drop_below: float, right: list[list[bool]], teachers: list[int]
) -> None:
    # Two full-batch steps a client; the average counts all three, the lesson is the mean logits of the teachers.
    equal_start(world)
    models = [start.copy() for start in world.start]
    for model, (x, y) in zip(models, world.private, strict=True):
        model.train(x, y, world.lr, steps=2)
    run = judged(world, ("linear",), right, {}, drop_below=drop_below, server_epochs=2, server_lr=0.05)
    (row,) = run.rounds()
    student = Student(average(models, [1 / 3] * 3), 0.05, 2, 5.0)
    if teachers:
        lessons = lessons_of([models[client].logits(world.public) for client in teachers], "avg_logits", 1.0)
        for _ in range(2):
            student.step(world.public, lessons, 1.0)
    found = students(run)["linear"]
    np.testing.assert_allclose(found["head.weight"][0].numpy(), student.model.w, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found["head.bias"][0].numpy(), student.model.b, rtol=0, atol=1e-9)
    assert row.values["teachers"] == len(teachers)
    assert row.values["steps_server"] == (2 if teachers else 0)
    # 9 numbers of the net and one accuracy, of 8 bytes each
    assert [client["bytes_up"] for client in row.clients] == [80] * 3
    assert (row.values["bytes_up_Parameters"], row.values["bytes_up_Scalars"]) == (216, 24)
    assert moves_as_planned(run)


def test_a_weak_model_is_found_among_several_architectures(world) -> None:
    # Clients 0 and 1 are mlp-2 and weak. The linear one is left, from which its own student has nothing to learn.
    run = judged(world, ("mlp-2", "linear"), [NONE, NONE, ALL], {}, server_epochs=1, drop_below=1.2)
    (row,) = run.rounds()
    assert run.architectures == ("mlp-2", "mlp-2", "linear")
    assert row.values["teachers"] == 1
    for architecture, taught in (("linear", False), ("mlp-2", True)):
        gaps = [
            float((students(run)[architecture][name][0] - tensor.mean(dim=0)).abs().max())
            for name, tensor in run.client_weights()[architecture].items()
        ]
        assert (max(gaps) > 1e-4) == taught


def test_judging_needs_validation_samples(world) -> None:
    with pytest.raises(Unsupported, match=r"feddf\.drop_below .* no client has any"):
        world.build("feddf", drop_below=1.2)


def test_nothing_is_judged_by_default(world, moves_as_planned) -> None:
    run = world.run("feddf")
    (row, *_) = run.rounds()
    assert not [key for key in row.values if key == "teachers" or key.endswith("_Scalars")]
    assert moves_as_planned(run)
    assert "drop_below" not in plain(FedDFConfig())


def test_views_are_the_students_and_the_local_models(world) -> None:
    run = world.run("feddf")
    assert run.facts()["deployed"] == "global"
    assert run.facts()["views"] == ["+local", "global"]


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": 0.0}, {"server_epochs": -1}, {"server_lr": 0.0}, {"clip": 0.0}, {"drop_below": 0.0}],
    ids=str,
)
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"feddf.{next(iter(wrong))}"):
        FedDFConfig(**wrong)
    assert FedDFConfig(clip=None).clip is None
