"""FedMD with every score and loss against softmax regression in NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from fl_bench.benchmarks.grid.configure import plain
from fl_bench.errors import ConfigError
from fl_bench.methods.fedmd import FedMDConfig

LR = 0.2
DIGEST = {"digest_lr": LR, "digest_epochs": 2}


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z)
    return e / e.sum(axis=1, keepdims=True)


def through_softmax(p: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """dL/dz from dL/dp: p * (slope - sum_c p_c slope_c)."""
    return p * (slope - (p * slope).sum(axis=1, keepdims=True))


def slope(model, x: np.ndarray, target: np.ndarray, score: str, loss: str) -> np.ndarray:
    """dL/dz of the digest loss, every case written out; 9 = 3 samples * 3 classes, KL is a mean over samples only."""
    z, p = model.logits(x), model.probabilities(x)
    if loss == "kl":
        return (p - target) / 3
    found = z if score == "logits" else p
    by_score = np.sign(found - target) / 9 if loss == "l1" else 2 * (found - target) / 9
    return by_score if score == "logits" else through_softmax(p, by_score)


@pytest.mark.parametrize("loss", ["l1", "mse", "kl"])
@pytest.mark.parametrize("score", ["logits", "probabilities"])
def test_three_rounds_against_numpy(world, weights_of, assert_equal, score: str, loss: str) -> None:
    temperature = 2.5 if (score, loss) == ("logits", "kl") else 1.0
    run = world.run("fedmd", score=score, loss=loss, temperature=temperature, **DIGEST)
    consensus = None
    for _ in range(world.rounds):
        for model, (x, y) in zip(world.start, world.private, strict=True):
            if consensus is not None:
                target = softmax(consensus / temperature) if (score, loss) == ("logits", "kl") else consensus
                for _ in range(2):
                    model.descend(world.public, slope(model, world.public, target, score, loss), LR)
            model.train(x, y, world.lr, steps=world.epochs)
        read = [m.logits(world.public) if score == "logits" else m.probabilities(world.public) for m in world.start]
        consensus = np.mean(read, axis=0)
    assert_equal(weights_of(run), world.start)


@pytest.mark.parametrize(("weights", "counts"), [("uniform", [1, 1, 1]), ("size", [1, 3, 3])])
def test_clients_count_the_same_or_by_their_samples(
    world, weights_of, assert_equal, weights: str, counts: list[int]
) -> None:
    x, y = world.private[0]
    world.private[0] = (x[:1], y[:1])  # one sample, three times in each batch
    run = world.run("fedmd", score="probabilities", loss="kl", weights=weights, **DIGEST)
    world.private[0] = (np.repeat(x[:1], 3, axis=0), np.repeat(y[:1], 3))
    steps = [1 * world.epochs, world.epochs, world.epochs]
    # ceil(2 epochs * 1 sample / batch of 3) = 1 step a round for the small client
    steps[0] = 1
    consensus = None
    for _ in range(world.rounds):
        for model, (xs, ys), taken in zip(world.start, world.private, steps, strict=True):
            if consensus is not None:
                model.distil(world.public, consensus, LR, steps=2)
            model.train(xs, ys, world.lr, steps=taken)
        read = [model.probabilities(world.public) for model in world.start]
        consensus = np.average(read, axis=0, weights=counts)
    assert_equal(weights_of(run), world.start)


def test_equal_weights_are_the_default_and_no_part_of_a_cells_key() -> None:
    assert "weights" not in plain(FedMDConfig())
    assert plain(FedMDConfig(weights="size"))["weights"] == "size"


def test_without_digest_it_is_local_only_bit_for_bit(world, weights_of) -> None:
    for found, alone in zip(
        weights_of(world.run("fedmd", digest_epochs=0)), weights_of(world.run("local")), strict=True
    ):
        assert (found.w == alone.w).all()
        assert (found.b == alone.b).all()


def test_digest_is_clipped(world, weights_of, assert_equal) -> None:
    # With clip 1e-3 a digest step moves the weights by lr * 1e-3 in all; two steps in two rounds by 8e-4 at most.
    clipped = world.run("fedmd", loss="mse", clip=1e-3, **DIGEST)
    alone = world.run("local")
    world.epochs, moved = 2, []
    for one, other in zip(weights_of(clipped), weights_of(alone), strict=True):
        moved.append(np.sqrt(((one.w - other.w) ** 2).sum() + ((one.b - other.b) ** 2).sum()))
    assert 0 < max(moved) < 8e-4


def test_subset_is_fresh_every_round_and_shared_by_clients(world) -> None:
    world.rounds = 4
    run = world.run("fedmd", public_samples=1, **DIGEST)
    pool = run.data.public
    drawn = [pool.subset(1, 0, index).tolist() for index in range(4)]
    assert len({tuple(rows) for rows in drawn}) > 1
    rows = [row.values for row in run.rounds()]
    # one sample of 3 classes in float64: 24 bytes for each of 3 clients, each way, nothing received in round 0
    assert [(row["bytes_up"], row["bytes_down"]) for row in rows] == [(72, 0), (72, 72), (72, 72), (72, 72)]


def test_pretraining_opens_the_public_labels_and_trains_on_them(world, weights_of, assert_equal) -> None:
    world.rounds = 1
    run = world.run("fedmd", pretrain_epochs=2)
    for model, (x, y) in zip(world.start, world.private, strict=True):
        model.train(world.public, np.array([0, 1, 2]), world.lr, steps=2)
        model.train(x, y, world.lr, steps=world.epochs)
    assert_equal(weights_of(run), world.start)
    assert run.facts()["badges"] == ["oracle: public labels (fedmd)"]


def test_every_client_pretrains_once_whenever_it_comes(world) -> None:
    world.rounds, world.options = 6, {"participation": 0.4}
    run = world.run("fedmd", pretrain_epochs=3, digest_epochs=1)
    seen: set[int] = set()
    for index, row in enumerate(run.rounds()):
        (client,) = run.participants(index)
        # 3 passes of one batch the first time; one digest step whenever there was a consensus before
        assert row.values["steps_distill"] == (0 if client in seen else 3) + (1 if index else 0)
        seen.add(client)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 0.0},
        {"temperature": 2.0},
        {"public_samples": 0},
        {"digest_epochs": -1},
        {"digest_lr": -0.1},
        {"clip": 0.0},
        {"pretrain_epochs": -1},
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"fedmd.{next(iter(wrong))}"):
        FedMDConfig(**wrong)
