"""FedCT against softmax regression in NumPy, its votes by hand, and its noise."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from fl_bench.errors import ConfigError
from fl_bench.federation.batches import positions
from fl_bench.federation.channel import Uploads
from fl_bench.federation.models.build import NetBytes
from fl_bench.federation.payloads import Labels
from fl_bench.federation.rounds import Round
from fl_bench.methods.base import Facts
from fl_bench.methods.contract import client_facts
from fl_bench.methods.fedct import FedCT, FedCTConfig
from fl_bench.streams import numpy_stream

if TYPE_CHECKING:
    from fl_bench.federation.run import Run

LR = 0.3
NEVER = 1000
SEQUENTIAL = {"mode": "sequential", "distill_lr": LR, "distill_epochs": 3}


def majority(models, public: np.ndarray, threshold: float = 0.0) -> np.ndarray:
    """The class with most votes, the smallest among equals; -1 where it has less than a share of the votes."""
    votes = np.stack([model.logits(public).argmax(axis=1) for model in models])
    counts = np.stack([np.bincount(column, minlength=3) for column in votes.T])
    return np.where(counts.max(axis=1) / len(models) >= threshold, counts.argmax(axis=1), -1)


def teach(model, public: np.ndarray, labels: np.ndarray, index: int) -> None:
    """Three epochs of cross-entropy on the labelled public samples; in batches of three that is one for each sample."""
    kept = np.flatnonzero(labels >= 0)
    if len(kept):
        for batch in positions(len(kept), len(kept), 3, numpy_stream(0, "public", index)):
            model.train(public[kept[batch]], labels[kept[batch]], LR)


def test_joint_rounds_against_numpy(world, weights_of, assert_equal) -> None:
    # D_i and U make six samples, so each epoch has two batches; positions from 3 on are public.
    run = world.run("fedct")
    labels = None
    for index in range(world.rounds):
        for client, (model, (x, y)) in enumerate(zip(world.start, world.private, strict=True)):
            if labels is None:
                model.train(x, y, world.lr, steps=world.epochs)
                continue
            both, told = np.concatenate([x, world.public]), np.concatenate([y, labels])
            for batch in positions(6, 4, 3, numpy_stream(0, "together", client, index)):
                model.train(both[batch], told[batch], world.lr)
        labels = majority(world.start, world.public)
    assert_equal(weights_of(run), world.start)
    # each epoch passes over the public samples too, and each client takes two steps of three samples in each
    facts = client_facts(run)
    assert [phase.epochs for phase in FedCT().plan(facts).work] == [world.epochs, world.epochs]
    assert [phase.epochs for phase in FedCT(FedCTConfig(**SEQUENTIAL)).plan(facts).work] == [world.epochs, 3]
    assert [row.values["steps_local"] for row in run.rounds()] == [3 * world.epochs, *[6 * world.epochs] * 2]


@pytest.mark.parametrize(("every", "participation"), [(1, 1.0), (2, 1.0), (2, 0.67), (3, 0.34)])
def test_sequential_rounds_against_numpy(world, weights_of, assert_equal, every: int, participation: float) -> None:
    # A consensus reaches a client when it next takes part, and serves it until there is another.
    world.rounds, world.options = 9, {"participation": participation}
    run = world.run("fedct", communication_every=every, **SEQUENTIAL)
    latest: np.ndarray | None = None
    known: dict[int, np.ndarray] = {}
    for index in range(world.rounds):
        there = run.participants(index)
        for client in there:
            model, (x, y) = world.start[client], world.private[client]
            if latest is not None:
                known[client] = latest
            if client in known:
                teach(model, world.public, known[client], index)
            model.train(x, y, world.lr, steps=world.epochs)
        if (index + 1) % every == 0:
            latest = majority([world.start[client] for client in there], world.public)
    assert_equal(weights_of(run), world.start)


@pytest.mark.parametrize("mode", ["joint", "sequential"])
def test_never_communicating_is_local_only_bit_for_bit(world, weights_of, mode: str) -> None:
    run = world.build("fedct", communication_every=NEVER, mode=mode)
    assert sum(row.values["bytes_up"] + row.values["bytes_down"] for row in run.rounds()) == 0
    for found, alone in zip(weights_of(run), weights_of(world.run("local")), strict=True):
        assert (found.w == alone.w).all()
        assert (found.b == alone.b).all()


def count(run: Run, votes: list[list[int]]) -> list[int]:
    """The consensus that the server makes of votes, one list per client."""
    uploads = Uploads(
        [("linear", list(range(len(votes))), Labels(torch.tensor(votes), 3))],
        owners=["linear"] * len(votes),
        dtype=torch.float64,
    )
    downloads = run.method.server_update(uploads, Round(0, 0, run.federation))
    (parcel,) = downloads.parcels
    assert parcel.address == dict.fromkeys(range(len(votes)), 0)
    return parcel.payload.values[0].tolist()


def test_votes_by_hand(world) -> None:
    run = world.build("fedct")
    assert count(run, [[2, 0, 1], [2, 0, 1]]) == [2, 0, 1]  # unanimous
    votes = [[0, 2, 2], [1, 2, 1], [1, 0, 0], [2, 0, 2]]
    # 0 1 1 2: class 1. 2 2 0 0: a tie, the smaller. 2 1 0 2: class 2. Whatever the order of clients:
    for order in ([0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]):
        assert count(run, [votes[client] for client in order]) == [1, 0, 2]


def test_samples_below_the_threshold_have_no_label(world) -> None:
    # Shares of the winners: 1/2, 3/4, 1. No label is one class more, 3.
    votes = [[0, 2, 1], [1, 2, 1], [1, 2, 1], [2, 0, 1]]
    for threshold, consensus in ((0.5, [1, 2, 1]), (0.51, [3, 2, 1]), (0.75, [3, 2, 1]), (1.0, [3, 3, 1])):
        assert count(world.build("fedct", vote_threshold=threshold), votes) == consensus
    # 0.55 * 100 is 55.00000000000001 in floating point, and 55 of 100 votes are enough. 54 are not.
    for votes_for_0, consensus in ((55, [0]), (54, [3])):
        votes = [[0]] * votes_for_0 + [[1]] * (100 - votes_for_0)
        assert count(world.build("fedct", vote_threshold=0.55), votes) == consensus


def test_samples_without_label_are_left_out(world, weights_of, assert_equal) -> None:
    # Clients that start alike and learn slowly agree on some samples; all three must.
    world.start, world.lr, world.rounds = [world.start[0].copy() for _ in range(3)], 0.2, 5
    run = world.run("fedct", vote_threshold=1.0, **SEQUENTIAL)
    labels, labelled = np.full(3, -1), []
    for index in range(world.rounds):
        for model, (x, y) in zip(world.start, world.private, strict=True):
            teach(model, world.public, labels, index)
            model.train(x, y, world.lr, steps=world.epochs)
        labels = majority(world.start, world.public, 1.0)
        labelled.append(int((labels >= 0).sum()))
    assert_equal(weights_of(run), world.start)
    assert labelled == [2] * 5


@pytest.mark.parametrize("mode", ["joint", "sequential"])
def test_where_nothing_is_labelled_clients_train_alone(world, weights_of, mode: str) -> None:
    # The three clients of this world never agree on a sample.
    run = world.run("fedct", vote_threshold=1.0, mode=mode)
    for found, alone in zip(weights_of(run), weights_of(world.run("local")), strict=True):
        assert (found.w == alone.w).all()
        assert (found.b == alone.b).all()


def test_bytes(world) -> None:
    # Three labels of 2 bits: one byte. Three clients; nothing arrives in round 0, nor after a round without a vote.
    for every, up, down in ((1, [3, 3, 3, 3], [0, 3, 3, 3]), (2, [0, 3, 0, 3], [0, 0, 3, 0])):
        world.rounds = 4
        rows = [row.values for row in world.build("fedct", communication_every=every).rounds()]
        assert [row["bytes_up"] for row in rows] == up
        assert [row["bytes_down"] for row in rows] == down
    # 100 labels of 4 classes: 200 bits, 25 bytes; with a fifth symbol 300 bits, 38 bytes.
    facts = Facts(public=100, classes=4, net=NetBytes(0, 0, 0, 0))
    assert (FedCT().plan(facts).up_bytes, FedCT().plan(facts).down_bytes) == (25, 25)
    plan = FedCT(FedCTConfig(vote_threshold=0.5, communication_every=3)).plan(facts)
    assert (plan.up_bytes, plan.down_bytes, plan.bound) == (25, 38, True)
    # 3 classes and `no label` are four symbols, which two bits still tell apart.
    plan = FedCT(FedCTConfig(vote_threshold=0.5)).plan(Facts(public=100, classes=3, net=NetBytes(0, 0, 0, 0)))
    assert (plan.up_bytes, plan.down_bytes) == (25, 25)


def test_randomised_response(world) -> None:
    # e^eps = 4 of 3 classes: the own label with 4/6, each other with 1/6; 60 000 draws, 4 sigma is .008.
    run = world.build("fedct", epsilon=math.log(4))
    rnd = Round(1, 0, run.federation)
    clients = run.client_cohort("linear", [0, 1, 2], rnd)
    votes = torch.arange(3)[:, None].expand(-1, 20_000)
    noised = run.method.noised(votes, clients, rnd)
    shift = (noised - votes) % 3
    shares = torch.bincount(shift.flatten(), minlength=3) / shift.numel()
    assert shares.tolist() == pytest.approx([4 / 6, 1 / 6, 1 / 6], abs=0.008)
    assert torch.equal(noised, run.method.noised(votes, clients, rnd))
    # Clients and rounds lie independently: two of them agree on 4/6 * 4/6 + 2 * 1/6 * 1/6 = 1/2 of the shifts.
    later = (run.method.noised(votes, clients, Round(2, 0, run.federation)) - votes) % 3
    for one, other in ((shift[0], shift[1]), (shift[0], shift[2]), (shift[0], later[0])):
        assert (one == other).double().mean().item() == pytest.approx(0.5, abs=0.015)


def test_noise_is_what_travels(world, weights_of, assert_equal) -> None:
    honest, faint, strong = (
        weights_of(world.run("fedct", epsilon=epsilon, **SEQUENTIAL)) for epsilon in (None, 50.0, 0.01)
    )
    assert_equal(honest, faint)
    assert not all(np.allclose(one.w, other.w) for one, other in zip(honest, strong, strict=True))


@pytest.mark.parametrize(
    "wrong",
    [
        {"distill_lr": 0.0},
        {"distill_epochs": -1},
        {"communication_every": 0},
        {"vote_threshold": -0.1},
        {"vote_threshold": 1.1},
        {"epsilon": 0.0},
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"fedct.{next(iter(wrong))}"):
        FedCTConfig(**wrong)
