"""Cronus against softmax regression in NumPy, and what its aggregation withstands."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fl_bench.errors import ConfigError
from fl_bench.federation.batches import positions
from fl_bench.federation.channel import Uploads
from fl_bench.federation.payloads import Scores
from fl_bench.federation.rounds import Round
from fl_bench.methods.contract import client_facts
from fl_bench.methods.cronus import Cronus, CronusConfig
from fl_bench.streams import numpy_stream


def filtered(rows: np.ndarray) -> np.ndarray:
    """The mean of a sample's rows without the one that is farthest along the top eigenvector of their covariance."""
    along = (rows - rows.mean(axis=0)) @ np.linalg.eigh(np.cov(rows.T))[1][:, -1]
    return np.delete(rows, np.abs(along).argmax(), axis=0).mean(axis=0)


def robust(p: np.ndarray, aggregation: str) -> np.ndarray:
    """Of three clients, divided by its sum; a third cut off each end leaves the middle, too."""
    if aggregation == "spectral":
        return np.array([filtered(p[:, sample]) for sample in range(p.shape[1])])
    merged = p.mean(axis=0) if aggregation == "mean" else np.sort(p, axis=0)[1]
    return merged / merged.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("participation", [1.0, 0.67])
@pytest.mark.parametrize("aggregation", ["mean", "median", "trimmed", "spectral"])
def test_four_rounds_against_numpy(world, weights_of, assert_equal, aggregation: str, participation: float) -> None:
    # D_i and U make six samples, so each of two epochs has two batches; positions from 3 on are public.
    world.rounds, world.options = 4, {"participation": participation}
    run = world.run("cronus", initial_epochs=5, aggregation=aggregation, trim=0.34)
    consensus, here = None, set()
    for index in range(world.rounds):
        for client in run.participants(index):
            model, (x, y) = world.start[client], world.private[client]
            if client not in here:
                model.train(x, y, world.lr, steps=5)
                here.add(client)
            if consensus is None:
                continue
            both, told = np.concatenate([x, world.public]), np.concatenate([np.eye(3)[y], consensus])
            for batch in positions(6, 4, 3, numpy_stream(0, "together", client, index)):
                model.distil(both[batch], told[batch], world.lr)  # KL and cross-entropy have the same gradient
        p = np.stack([world.start[client].probabilities(world.public) for client in run.participants(index)])
        middle = aggregation if len(p) == 3 else "mean"  # of two clients the midpoint is the mean; nothing is cut
        consensus = robust(p, middle)
    assert_equal(weights_of(run), world.start)


def test_every_local_pass_is_one_over_the_public_pool_too(world) -> None:
    # D_i and U have three samples each, and so has a batch.
    run = world.run("cronus", initial_epochs=5)
    plan = run.method.plan(client_facts(run))
    private, public = 3 * world.epochs, 3 * plan.work[1].epochs
    assert [row.values["steps_local"] for row in run.rounds()] == [3 * 5, *[3 * (private + public) // 3] * 2]


def test_the_first_round_is_that_of_local_only(world, weights_of) -> None:
    world.rounds = 1
    for found, alone in zip(weights_of(world.run("cronus")), weights_of(world.run("local")), strict=True):
        assert (found.w == alone.w).all()
        assert (found.b == alone.b).all()


def consensus_of(rows: torch.Tensor, world, **settings: object) -> torch.Tensor:
    """What the server sends for predictions of shape (clients, samples, classes)."""
    clients = list(range(len(rows)))
    uploads = Uploads([("linear", clients, Scores(rows))], owners=["linear"] * len(rows), dtype=rows.dtype)
    run = world.build("cronus")
    (parcel,) = Cronus(CronusConfig(**settings)).server_update(uploads, Round(0, 0, run.federation)).parcels
    assert parcel.address == dict.fromkeys(clients, 0)
    return parcel.payload.values[0]


def draw(*shape: int) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(0).dirichlet(np.ones(3), shape))


@pytest.mark.parametrize("aggregation", ["mean", "median", "trimmed", "geomedian", "spectral"])
def test_clients_that_agree_are_believed(world, aggregation: str) -> None:
    rows = draw(1, 5).repeat(7, 1, 1)
    assert torch.allclose(consensus_of(rows, world, aggregation=aggregation), rows[0], rtol=1e-12)


def test_trimming_nothing_is_the_mean(world) -> None:
    rows = draw(7, 5)
    mean = consensus_of(rows, world, aggregation="mean")
    assert torch.allclose(mean, rows.mean(dim=0))
    assert torch.allclose(consensus_of(rows, world, aggregation="trimmed", trim=0.0), mean)
    assert not torch.allclose(consensus_of(rows, world, aggregation="trimmed", trim=0.3), mean)
    assert torch.allclose(consensus_of(rows, world, aggregation="spectral", trim=0.0), mean)
    assert not torch.allclose(consensus_of(rows, world, aggregation="spectral", trim=0.3), mean)


@pytest.mark.parametrize("aggregation", ["median", "trimmed", "geomedian"])
def test_a_minority_of_liars_changes_nothing_that_the_others_agree_on(world, aggregation: str) -> None:
    # Four of nine: 0.45 of 9 cuts four off each end, and five equal rows resist a pull of four unit vectors.
    rows = draw(1, 5).repeat(9, 1, 1)
    liars = torch.eye(3, dtype=torch.float64)[torch.tensor([0, 1, 2, 0])]
    rows[5:] = liars[:, None]
    found = consensus_of(rows, world, aggregation=aggregation, trim=0.45)
    assert torch.allclose(found, rows[0], atol=1e-6)
    assert not torch.allclose(consensus_of(rows, world, aggregation="mean"), rows[0], atol=1e-2)


def test_the_median_of_an_even_number_is_the_midpoint(world) -> None:
    # .2 and .6 have the midpoint .4, .8 and .4 the midpoint .6.
    rows = torch.tensor([[[0.2, 0.8]], [[0.6, 0.4]]], dtype=torch.float64)
    assert consensus_of(rows, world, aggregation="median").tolist() == [pytest.approx([0.4, 0.6])]


@pytest.mark.parametrize("wrong", [{"initial_epochs": -1}, {"trim": -0.1}, {"trim": 0.5}])
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"cronus.{next(iter(wrong))}"):
        CronusConfig(**wrong)
