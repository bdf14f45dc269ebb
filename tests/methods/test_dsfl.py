"""DS-FL: the entropy of its targets by hand, three rounds against softmax regression in NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_bench.errors import ConfigError, Diverged
from fl_bench.federation.batches import positions
from fl_bench.federation.models import net_bytes
from fl_bench.federation.rounds import Round
from fl_bench.federation.run import Run
from fl_bench.federation.settings import ModelMix, Training
from fl_bench.methods.base import Facts
from fl_bench.methods.dsfl import DSFL, DSFLConfig, entropy_reduced, mean_entropy
from fl_bench.methods.registry import METHODS
from fl_bench.streams import numpy_stream

if TYPE_CHECKING:
    from torch import Tensor

PLAIN = {"distill_lr": 0.2, "distill_epochs": 2, "server_lr": 0.4, "server_epochs": 3}


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z)
    return e / e.sum(axis=1, keepdims=True)


def rows(seed: int, classes: int, alpha: float = 1.0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).dirichlet([alpha] * classes, size=8))


def server_of(run: Run, kind: type):
    weights = run.method.server.weights
    return kind(weights["head.weight"][0].numpy(), weights["head.bias"][0].numpy())


# --- entropy reduction


def test_targets_by_hand() -> None:
    # softmax((.7, .2, .1)): e^.7, e^.2, e^.1 = 2.01375, 1.22140, 1.10517 over 4.34032. At T = .1 exponents are 7, 2, 1.
    p = torch.tensor([[0.7, 0.2, 0.1]], dtype=torch.float64)
    assert entropy_reduced(p, 1.0, "softmax")[0].tolist() == pytest.approx([0.46396, 0.28141, 0.25463], abs=1e-5)
    e = np.exp([7.0, 2.0, 1.0])
    assert entropy_reduced(p, 0.1, "softmax")[0].tolist() == pytest.approx((e / e.sum()).tolist(), rel=1e-12)
    # The power form at T = 1/2 squares: .49, .04, .01 over .54.
    assert entropy_reduced(p, 0.5, "power")[0].tolist() == pytest.approx([49 / 54, 4 / 54, 1 / 54], rel=1e-12)


def test_entropy_by_hand() -> None:
    # Rows (1/2, 1/2, 0) and (1/4, 1/4, 1/2) have entropies ln 2 and 1/2 ln 4 + 1/2 ln 2 = 3/2 ln 2.
    p = torch.tensor([[0.5, 0.5, 0.0], [0.25, 0.25, 0.5]])
    assert mean_entropy(p) == pytest.approx(1.25 * np.log(2))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), temperature=st.floats(0.05, 20), form=st.sampled_from(["softmax", "power"]))
def test_order_and_arg_max_of_every_row_stay(seed: int, temperature: float, form: str) -> None:
    p = rows(seed, classes=5)
    found = entropy_reduced(p, temperature, form)
    assert found.sum(dim=1).tolist() == pytest.approx([1.0] * 8)
    order = p.argsort(dim=1)
    assert (found.gather(1, order).diff(dim=1) >= 0).all()  # equal where both underflow
    assert (found.argmax(dim=1) == p.argmax(dim=1)).all()


@pytest.mark.parametrize("form", ["softmax", "power"])
def test_limits_are_one_hot_and_uniform(form: str) -> None:
    p = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]], dtype=torch.float64)
    assert torch.allclose(entropy_reduced(p, 1e-3, form), torch.tensor([[1.0, 0, 0], [0, 0, 1]]).double())
    assert torch.allclose(entropy_reduced(p, 1e9, form), torch.full((2, 3), 1 / 3).double())


def test_power_form_at_temperature_1_is_the_average_bit_by_bit() -> None:
    p = rows(1, classes=5)
    assert torch.equal(entropy_reduced(p, 1.0, "power"), p)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), temperature=st.floats(0.05, 1))
def test_power_form_never_raises_the_entropy(seed: int, temperature: float) -> None:
    p = rows(seed, classes=10, alpha=0.3)
    assert mean_entropy(entropy_reduced(p, temperature, "power")) <= mean_entropy(p) + 1e-6  # 0 counts as 1e-8


def test_softmax_form_lowers_the_entropy_of_few_classes_and_raises_that_of_many() -> None:
    # (.7, .2, .1): 0.802 nats; at T = .1 the row is (.991, .007, .002). Its threshold is near T = .345.
    sure = torch.tensor([[0.7, 0.2, 0.1]], dtype=torch.float64)
    assert mean_entropy(entropy_reduced(sure, 0.1, "softmax")) < mean_entropy(sure)
    assert mean_entropy(entropy_reduced(sure, 0.34, "softmax")) < mean_entropy(sure)
    assert mean_entropy(entropy_reduced(sure, 0.35, "softmax")) > mean_entropy(sure)
    # Around 1/100 the log-ratio of two classes is 100 times their difference, at T = .1 it becomes 10 times.
    flat = rows(2, classes=100, alpha=5.0)
    assert mean_entropy(entropy_reduced(flat, 0.1, "softmax")) > mean_entropy(flat)


# --- rounds


@pytest.mark.parametrize(
    ("choice", "target_of"),
    [
        ({"aggregation": "sa"}, lambda p: p),
        ({"temperature": 0.3}, lambda p: softmax(p / 0.3)),
        ({"temperature": 0.5, "era_form": "power"}, lambda p: p**2 / (p**2).sum(axis=1, keepdims=True)),
    ],
    ids=["sa", "softmax", "power"],
)
def test_three_rounds_against_numpy(world, weights_of, assert_equal, choice, target_of) -> None:
    kind = type(world.start[0])
    server = server_of(world.build("dsfl", **PLAIN), kind).copy()
    run = world.build("dsfl", **PLAIN, **choice)
    rows = [row.values for row in run.rounds()]
    target, entropies = None, []
    for _ in range(world.rounds):
        for model, (x, y) in zip(world.start, world.private, strict=True):
            if target is not None:
                model.distil(world.public, target, 0.2, steps=2)
            model.train(x, y, world.lr, steps=world.epochs)
        average = np.mean([model.probabilities(world.public) for model in world.start], axis=0)
        target = target_of(average)
        server.distil(world.public, target, 0.4, steps=3)
        entropies.append((average, target))
    assert_equal(weights_of(run), world.start)
    assert_equal([server_of(run, kind)], [server])
    for row, (average, target) in zip(rows, entropies, strict=True):
        assert row["entropy_sa"] == pytest.approx(-(average * np.log(average)).sum(axis=1).mean())
        if choice != {"aggregation": "sa"}:
            assert row["entropy_era"] == pytest.approx(-(target * np.log(target)).sum(axis=1).mean())


def test_entropies_of_both_targets_are_told_whichever_is_sent(world) -> None:
    sa, era = (next(world.build("dsfl", aggregation=name).rounds()).values for name in ("sa", "era"))
    assert sa["entropy_sa"] == era["entropy_sa"]
    assert sa["entropy_era"] == era["entropy_era"] != era["entropy_sa"]


def test_simple_averaging_is_fedmd_on_the_same_subsets(world, weights_of, assert_equal) -> None:
    # Soft cross-entropy and KL have one gradient, computed in different orders: equal to rounding.
    settings = {"public_samples": 2}
    md = {"score": "probabilities", "loss": "kl", "digest_lr": 0.2, "digest_epochs": 2}
    world.rounds = 4
    ours = world.run("dsfl", aggregation="sa", server_model=False, distill_lr=0.2, distill_epochs=2, **settings)
    assert_equal(weights_of(ours), weights_of(world.run("fedmd", **md, **settings)))


def test_simple_averaging_with_a_server_model_is_cfd_without_compression(world, weights_of, assert_equal) -> None:
    # In the first round both teach their server model the plain average, on the same batches (two of three public
    # samples, so that their order counts). Then CFD sends the model's predictions, DS-FL the average.
    kind, found = type(world.start[0]), {}
    training = Training(rounds=1, batch_size=2, optimizer="sgd", lr=0.5, precision="float64")
    for name, choice in (("dsfl", {"aggregation": "sa"}), ("cfd", {"b_up": 32, "b_down": 32})):
        method = METHODS[name]
        run = Run(
            method(method.config_type(**PLAIN, **choice)),
            world.dataset,
            world.split,
            ModelMix(("linear",)),
            training,
            seed=0,
        )
        world.set_start(run)
        list(run.rounds())
        found[name] = [*weights_of(run), server_of(run, kind)]
    assert_equal(found["dsfl"], found["cfd"])


def test_without_distillation_it_is_local_only_bit_for_bit(world, weights_of) -> None:
    for found, alone in zip(
        weights_of(world.run("dsfl", distill_epochs=0)), weights_of(world.run("local")), strict=True
    ):
        assert (found.w == alone.w).all()
        assert (found.b == alone.b).all()


def test_clients_do_not_notice_the_server_model(world, weights_of) -> None:
    with_one, without = world.run("dsfl"), world.run("dsfl", server_model=False)
    for one, other in zip(weights_of(with_one), weights_of(without), strict=True):
        assert (one.w == other.w).all()
    assert with_one.facts()["views"] == ["client", "server"]
    assert without.facts()["views"] == ["client"]


def test_view_is_the_server_model_for_every_client(world) -> None:
    run = world.run("dsfl")
    rnd = Round(2, 0, run.federation)
    view = run.method.views(run.client_cohort("linear", [0, 1, 2], rnd), rnd)["server"]
    assert view.index == (0, 0, 0)
    assert torch.equal(view.weights["head.weight"], run.method.server.weights["head.weight"])


def test_server_batches_move_on_with_the_rounds(world) -> None:
    # The order of a round is that of the stream ("server", round); every step sees one of the three public samples.
    kind = type(world.start[0])
    training = Training(rounds=2, batch_size=1, optimizer="sgd", lr=0.5, precision="float64")
    run = Run(
        DSFL(DSFLConfig(aggregation="sa", server_epochs=1, server_lr=0.4)),
        world.dataset,
        world.split,
        ModelMix(("linear",)),
        training,
        seed=0,
    )
    server = server_of(run, kind).copy()
    sent, update = [], run.method.server_update

    def server_update(uploads, rnd):
        sent.append(uploads.scores().mean(dim=0).numpy())
        return update(uploads, rnd)

    run.method.server_update = server_update
    list(run.rounds())
    for t, target in enumerate(sent):
        for row in positions(3, 3, 1, numpy_stream(0, "server", t)):
            server.distil(world.public[row], target[row], 0.4)
    np.testing.assert_allclose(server_of(run, kind).w, server.w, rtol=0, atol=1e-12)


@pytest.mark.parametrize("side", ["client", "server"])
def test_distillation_is_clipped_on_both_sides(world, side: str) -> None:
    # A clipped step moves the weights by lr * clip at most: 2 client steps in one round, or 2 server steps, of rate 1.
    world.rounds = 2 if side == "client" else 1
    still = {f"{'server' if side == 'client' else 'distill'}_epochs": 0}
    lively = {"distill_epochs": 2, "server_epochs": 2} | still
    loose, tight = (world.run("dsfl", distill_lr=1.0, server_lr=1.0, clip=clip, **lively) for clip in (None, 1e-4))
    alone = world.run("dsfl", distill_epochs=0, server_epochs=0)

    def weights(run: Run) -> Tensor:
        tree = run.client_weights()["linear"] if side == "client" else run.method.server.weights
        return torch.cat([tree["head.weight"].flatten(1), tree["head.bias"]], dim=1)

    def moved(run: Run) -> float:
        return float((weights(run) - weights(alone)).norm(dim=1).max())

    assert 0 < moved(tight) < 1e-3 < 1e-2 < moved(loose)


def test_public_subset_is_what_is_scored_and_taught(world) -> None:
    # Two samples of 3 classes in float64 are 48 bytes for each of 3 clients; nothing is received in round 0.
    run = world.build("dsfl", public_samples=2)
    rows = [row.values for row in run.rounds()]
    assert [(row["bytes_up"], row["bytes_down"]) for row in rows] == [(144, 0), (144, 144), (144, 144)]
    drawn = {tuple(run.data.public.subset(2, 0, t).tolist()) for t in range(3)}
    assert len(drawn) > 1


@pytest.mark.parametrize(("asked", "scored"), [(None, 50), (20, 20), (80, 50)])
def test_plan_counts_the_subset(asked: int | None, scored: int) -> None:
    facts = Facts(public=50, classes=10, net=net_bytes("linear", (2,), 10, None, 4))
    plan = DSFL(DSFLConfig(public_samples=asked, distill_epochs=2, server_epochs=3)).plan(facts)
    assert (plan.up_bytes, plan.down_bytes) == (scored * 40, scored * 40)
    assert [(phase.epochs, phase.samples) for phase in plan.work] == [(2, scored), (1, "private"), (3, scored)]
    assert DSFL(DSFLConfig(server_model=False)).plan(facts).work[2].epochs == 0


def test_a_server_model_that_overflows_has_diverged(world) -> None:
    # The gradient of samples this large is beyond 2, and a step of 1e308 times that is infinite. The loss is not: it
    # is taken before the step.
    world.public = 100 * world.public
    with pytest.raises(Diverged, match="a weight of server models linear is not finite"):
        world.run("dsfl", server_epochs=1, server_lr=1e308)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 0.0},
        {"distill_lr": 0.0},
        {"server_lr": -1.0},
        {"clip": 0.0},
        {"distill_epochs": -1},
        {"server_epochs": -1},
        {"public_samples": 0},
    ],
    ids=str,
)
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"dsfl.{next(iter(wrong))}"):
        DSFLConfig(**wrong)
    assert DSFLConfig(public_samples=1).public_samples == 1
