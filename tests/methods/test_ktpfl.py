"""KT-pFL against softmax regression in NumPy with every gradient written out, and its coefficients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fl_bench.errors import ConfigError
from fl_bench.federation.models.build import NetBytes
from fl_bench.methods.base import Facts
from fl_bench.methods.ktpfl import KTpFL, KTpFLConfig, mix

LR = 0.2


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z)
    return e / e.sum(axis=-1, keepdims=True)


def nearest_on_simplex(y: np.ndarray) -> np.ndarray:
    """max(y - t, 0) with the t at which it sums to 1, by bisection."""
    low, high = y.min() - 1, y.max()
    for _ in range(200):
        t = (low + high) / 2
        low, high = (t, high) if np.maximum(y - t, 0).sum() > 1 else (low, t)
    return np.maximum(y - t, 0)


def learned(c: np.ndarray, labels: np.ndarray, loss: str, weights: np.ndarray, rho: float, step: float) -> np.ndarray:
    """One step: dl_i/dc_im = -mean_u sum_c Y_i Y_m / Z_i for KL, 2 mean_u sum_c (Z_i - Y_i) Y_m for squares."""
    n, moved = len(c), c.copy()
    for i in range(n):
        z = np.einsum("m,muc->uc", c[i], labels)
        for m in range(n):
            slope = -labels[i] / z if loss == "kl" else 2 * (z - labels[i])
            gradient = weights[i] * (slope * labels[m]).sum(axis=1).mean() + 2 * rho * (c[i, m] - 1 / n)
            moved[i, m] -= step * gradient
    return np.stack([nearest_on_simplex(row) for row in moved])


@pytest.mark.parametrize("row_weights", ["uniform", "size"])
@pytest.mark.parametrize("loss", ["kl", "mse"])
@pytest.mark.parametrize("tau", [1.0, 2.5])
def test_three_rounds_against_numpy(world, weights_of, assert_equal, tau: float, loss: str, row_weights: str) -> None:
    x, y = world.private[0]
    world.private[0] = (np.repeat(x[:1], 6, axis=0), np.repeat(y[:1], 6))  # six equal samples: two batches an epoch
    options = {"coefficient_step": 0.4, "coefficient_updates": 2, "rho": 0.5, "distill_lr": LR, "distill_epochs": 3}
    run = world.run("ktpfl", temperature=tau, loss=loss, row_weights=row_weights, **options)
    c, mixtures = np.full((3, 3), 1 / 3), None
    for _ in range(world.rounds):
        for i, (model, (xs, ys)) in enumerate(zip(world.start, world.private, strict=True)):
            if mixtures is not None:
                for _ in range(3):  # d/dz tau^2 KL(Z || softmax(z / tau)), mean over 3 samples
                    p = softmax(model.logits(world.public) / tau)
                    model.descend(world.public, tau * (p - mixtures[i]) / 3, LR)
            model.train(xs[:3], ys[:3], world.lr, steps=world.epochs * len(xs) // 3)
        labels = np.stack([softmax(model.logits(world.public) / tau) for model in world.start])
        weights = np.array([6, 3, 3]) / 12 if row_weights == "size" else np.ones(3)
        for _ in range(2):
            c = learned(c, labels, loss, weights, rho=0.5, step=0.4)
        mixtures = np.einsum("im,muc->iuc", c, labels)
    assert_equal(weights_of(run), world.start)
    np.testing.assert_allclose(run.method.coefficients.numpy(), c, rtol=0, atol=1e-12)
    assert np.abs(c - 1 / 3).max() > 0.01


@pytest.mark.parametrize("public_samples", [None, 2])
def test_uniform_coefficients_are_fedmd_on_probabilities(
    world, weights_of, assert_equal, public_samples: int | None
) -> None:
    # Not bit for bit: FedMD divides the sum of the clients, a mixture weighs each with 1 / n.
    same = {"public_samples": public_samples, "distill_epochs": 2, "distill_lr": LR}
    ours = world.run("ktpfl", coefficient_step=0.0, temperature=1.0, **same)
    fedmd = {"public_samples": public_samples, "digest_epochs": 2, "digest_lr": LR}
    theirs = world.run("fedmd", score="probabilities", loss="kl", **fedmd)
    assert_equal(weights_of(ours), weights_of(theirs))


def test_without_distillation_it_is_local_only_bit_for_bit(world, weights_of) -> None:
    for found, alone in zip(
        weights_of(world.run("ktpfl", distill_epochs=0)), weights_of(world.run("local")), strict=True
    ):
        assert (found.w == alone.w).all()
        assert (found.b == alone.b).all()


@pytest.mark.parametrize("tau", [1.0, 10.0])
def test_who_counts_only_oneself_is_taught_nothing(world, weights_of, assert_equal, tau: float) -> None:
    # The mixture is the client's own prediction, which it still makes: p - Z = 0 (to 1e-16).
    run = world.build("ktpfl", coefficient_step=0.0, temperature=tau, distill_lr=LR)
    run.method.coefficients = torch.eye(3, dtype=torch.float64)
    assert [row.values["own_coefficient"] for row in run.rounds()] == [1.0] * 3
    assert_equal(weights_of(run), weights_of(world.run("local")))


def test_without_penalty_everyone_learns_from_oneself_alone(world) -> None:
    run = world.run("ktpfl", rho=0.0, temperature=1.0, coefficient_step=0.5, coefficient_updates=500)
    assert torch.allclose(run.method.coefficients, torch.eye(3, dtype=torch.float64), atol=1e-3)


def test_a_large_penalty_keeps_coefficients_uniform(world) -> None:
    # At the minimum |c - 1/n| is at most |grad l| / (2 rho).
    for rho, within in ((1.0, 1.0), (1e3, 2e-3)):
        run = world.run("ktpfl", rho=rho, temperature=1.0, coefficient_step=0.5 / rho, coefficient_updates=50)
        assert 0 < (run.method.coefficients - 1 / 3).abs().max() < within


def test_planted_groups_show_in_the_coefficients(world) -> None:
    # Clients 0 and 2 learn one labelling of their samples, 1 and 3 another.
    x = world.private[0][0]
    world.private = [(x, np.array(labels)) for labels in ([0, 1, 2], [1, 2, 0], [0, 1, 2], [1, 2, 0])]
    world.start = [world.start[client % 3].copy() for client in range(4)]
    world.epochs = 40
    coefficients = world.run("ktpfl", temperature=1.0).method.coefficients
    together = torch.tensor([[client % 2 == other % 2 for other in range(4)] for client in range(4)])
    assert coefficients[together].min() > 0.3
    assert coefficients[~together].max() < 0.2


@pytest.mark.parametrize("official", [False, True])
def test_rows_stay_on_the_simplex_and_absent_clients_keep_theirs(world, official: bool) -> None:
    world.rounds, world.options = 6, {"participation": 0.67}
    run = world.build("ktpfl", official_softmax=official, temperature=1.0, coefficient_step=0.9)
    before = run.method.coefficients.clone()
    for row in run.rounds():
        after = run.method.coefficients
        assert torch.allclose(after.sum(dim=1), torch.ones(3, dtype=torch.float64))
        assert (after >= 0).all()
        changed = (after != before).any(dim=1).nonzero().flatten().tolist()
        assert changed == run.participants(int(row.values["round"]))
        before = after.clone()


def test_who_never_took_part_is_told_nothing(world) -> None:
    world.rounds, world.options = 5, {"participation": 0.34}
    run, seen = world.build("ktpfl", public_samples=2), set()
    for row in run.rounds():
        (client,) = run.participants(int(row.values["round"]))
        # two samples of three classes in float64: 48 bytes
        assert (row.values["bytes_up"], row.values["bytes_down"]) == (48, 48 if client in seen else 0)
        seen.add(client)


def test_the_plan_counts_the_subset() -> None:
    facts = Facts(public=10, classes=4, net=NetBytes(0, 0, 0, 0))
    for asked, samples in ((None, 10), (7, 7), (1, 1), (99, 10)):
        plan = KTpFL(KTpFLConfig(public_samples=asked, distill_epochs=3)).plan(facts)
        assert (plan.up_bytes, plan.down_bytes) == (16 * samples, 16 * samples)
        assert (plan.work[0].epochs, plan.work[0].samples) == (3, samples)


def test_mixtures_are_of_those_who_take_part() -> None:
    # Clients 1 and 3 of four are there. Row (.1, .2, .1, .6) counts them 1/4 and 3/4, row (1, 0, 0, 0) the same.
    labels = torch.tensor([[[1.0, 0.0]], [[0.2, 0.8]]], dtype=torch.float64)
    rows = torch.tensor([[0.1, 0.2, 0.1, 0.6], [1.0, 0, 0, 0]], dtype=torch.float64)
    assert mix(rows, labels, [1, 3])[:, 0].tolist() == [pytest.approx([0.4, 0.6]), pytest.approx([0.6, 0.4])]
    # In a gradient both are harmless: the second does not depend on its coefficients.
    method = KTpFL(KTpFLConfig(rho=0.0))
    gradient = method.gradient(rows, labels, [1, 3], torch.ones(2, dtype=torch.float64))
    assert gradient.isfinite().all()
    assert gradient[:, [0, 2]].tolist() == [[0, 0], [0, 0]]
    assert gradient[1].tolist() == [0] * 4


def test_the_penalty_pulls_towards_the_mean_of_all_clients() -> None:
    # Rows that count nothing but the penalty: 2 * 0.5 * (c - 1/4).
    rows = torch.tensor([[0.1, 0.2, 0.1, 0.6], [1.0, 0, 0, 0]], dtype=torch.float64)
    labels = torch.tensor([[[1.0, 0.0]], [[0.2, 0.8]]], dtype=torch.float64)
    gradient = KTpFL(KTpFLConfig(rho=0.5)).gradient(rows, labels, [1, 3], torch.zeros(2, dtype=torch.float64))
    assert torch.allclose(gradient, rows - 0.25)


def test_a_mixture_without_a_class_that_the_client_sees_has_a_finite_gradient() -> None:
    labels = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]], dtype=torch.float64)
    rows = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    gradient = KTpFL().gradient(rows, labels, [0, 1], torch.ones(2, dtype=torch.float64))
    assert gradient.isfinite().all()


def test_the_official_step_by_hand() -> None:
    # |gradient| is (.2 + .2 + .4) / 3 = .267 on average; 5^-2 brings it to .0107, 5^-1 and 5^-3 to .053 and .0021. The
    # row moves by 0.5 * .2 / 25 = .004, .004 and .008, to .196, .396 and .408; times 5: .98, 1.98, 2.04.
    method = KTpFL(KTpFLConfig(official_softmax=True, coefficient_step=0.5))
    row, gradient = torch.tensor([[0.2, 0.4, 0.4]]), torch.tensor([[0.2, 0.2, -0.4]])
    expected = softmax(np.array([0.98, 1.98, 2.04]))
    assert method.stepped(row, gradient)[0].tolist() == pytest.approx(expected.tolist(), rel=1e-5)
    # At 1/n the softmax of 5 c has the slope 5/n: repeated, it leads ten clients back to 1/n and three away from it.
    for n, last in ((10, 0.1), (3, 0.985)):
        row = torch.full((1, n), 0.95 / n)
        row[0, 0] += 0.05
        for _ in range(100):
            row = method.stepped(row, torch.zeros(1, n))
        assert row[0, 0].item() == pytest.approx(last, abs=1e-3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 0.0},
        {"rho": -0.1},
        {"coefficient_step": -0.1},
        {"coefficient_step": 2.0},
        {"coefficient_updates": -1},
        {"public_samples": 0},
        {"distill_epochs": -1},
        {"distill_lr": 0.0},
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"ktpfl.{next(iter(wrong))}"):
        KTpFLConfig(**wrong)
