"""Local-only and Local+U against softmax regression in NumPy."""

from __future__ import annotations

import pytest

from fl_bench.errors import ConfigError
from fl_bench.methods.local_public import LocalPublicConfig


def test_local_trains_every_client_on_its_own_data_only(world, weights_of, assert_equal) -> None:
    run = world.run("local")
    for model, (x, y) in zip(world.start, world.private, strict=True):
        model.train(x, y, world.lr, steps=world.rounds * world.epochs)
    assert_equal(weights_of(run), world.start)


def test_local_public_distils_from_its_own_last_predictions(world, weights_of, assert_equal) -> None:
    # The target is the client's own last prediction, so the first distillation step of a round has gradient 0 and,
    # with plain SGD, so has every other: the run must equal Local-only to the last digits, with the extra steps taken.
    run = world.run("local-public", distill_epochs=2, distill_lr=0.5)
    for model, (x, y) in zip(world.start, world.private, strict=True):
        model.train(x, y, world.lr, steps=world.rounds * world.epochs)
    assert_equal(weights_of(run), world.start)
    rows = [row.values for row in run.rounds()]
    # 3 clients, 2 passes of one batch over the 3 public samples, no distillation in round 0
    assert [row["steps_distill"] for row in rows] == [0, 6, 6]


def test_local_public_pulls_towards_kept_predictions(world, weights_of, assert_equal) -> None:
    # Disturb client weights between rounds: the distillation then pulls back to what the client predicted before.
    from fl_bench.federation.rounds import Round

    world.rounds = 2
    run = world.run("local-public", distill_epochs=1, distill_lr=0.3)
    after_one = []
    for model, (x, y) in zip(world.start, world.private, strict=True):
        one = model.copy()
        one.train(x, y, world.lr, steps=world.epochs)
        one.train(x, y, world.lr, steps=world.epochs)
        after_one.append(one)
    told = [model.probabilities(world.public) for model in after_one]
    world.set_start(run)  # the disturbance
    rnd = Round(2, 0, run.federation)
    everyone = run.client_cohort("linear", range(3), rnd)
    run.method.client_update(everyone, None, rnd)
    for model, (x, y), target in zip(world.start, world.private, told, strict=True):
        model.distil(world.public, target, 0.3)
        model.train(x, y, world.lr, steps=world.epochs)
    assert_equal(weights_of(run), world.start)


def test_local_public_newcomers_do_not_distil(world) -> None:
    # One of three clients a round: it has predictions of its own from its second time on; 2 epochs of one batch.
    world.rounds, world.options = 6, {"participation": 0.4}
    run = world.run("local-public", distill_epochs=2, distill_lr=0.5)
    seen: set[int] = set()
    for index, row in enumerate(run.rounds()):
        (client,) = run.participants(index)
        assert row.values["steps_distill"] == (2 if client in seen else 0)
        seen.add(client)
    assert len(seen) > 1


@pytest.mark.parametrize("wrong", [{"distill_epochs": -1}, {"distill_lr": 0.0}, {"clip": 0.0}])
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"local-public.{next(iter(wrong))}"):
        LocalPublicConfig(**wrong)
