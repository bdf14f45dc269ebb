"""Arms under one risk: who is a control, what has a server, and risks that do not move."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from fl_bench.benchmarks.contraction.reading import Arm

if TYPE_CHECKING:
    from collections.abc import Callable

SEEDS, CLIENTS, ROUNDS = 5, 10, 30


def test_the_claim_comes_first_and_controls_last(arm, block, study, course) -> None:
    risks = course(0.3, 1.0, 0.7)
    found = study(block(*(arm(label, risks) for label in ("alpha", "cosmos", "local", "pooled", "zeta"))))
    assert found.arms == ["cosmos", "alpha", "zeta", "local"]
    assert found.references == ["pooled"]
    assert found.by == "seed"


def test_ends_and_curves_by_hand(arm, block, study) -> None:
    # Seed s has the risk s in every round but the last five, where it is 10 + s: the mean of 10 .. 14 is 12, and with
    # t(.975, 4) = 2.7764 the interval reaches 2.7764 * sqrt(2.5 / 5) = 1.9632 to either side.
    risks = np.zeros((SEEDS, CLIENTS, ROUNDS)) + np.arange(SEEDS)[:, None, None]
    risks[:, :, -5:] += 10
    found = study(block(arm("cosmos", risks)))
    end = found.end("cosmos")
    assert end.mean == 12
    assert end.interval == pytest.approx((12 - 1.9632, 12 + 1.9632), abs=1e-3)
    assert found.curve("cosmos")[:2] == [2, 2]
    assert found.curve("cosmos")[-1] == 12
    assert found.lowest("cosmos") == 2
    assert found.end("frozen") is None
    assert found.curve("cosmos", "after_distill") == []


@pytest.mark.parametrize("stuck", [1, SEEDS])
def test_a_risk_that_stays_the_same_in_some_or_all_seeds_is_no_error(
    block, study, course: Callable[..., np.ndarray], stuck: int
) -> None:
    own, server = course(0.3, 1.0, 0.7), course(0.3, 1.0, 0.7, salt=1)
    own[:stuck] = server[:stuck] = 0.25
    risks = {("client", "brier"): own, ("server_assigned", "brier"): server}
    clusters = np.zeros((SEEDS, CLIENTS), dtype=np.int64)
    found = study(block(Arm("cosmos", "client", ("client", "server_assigned"), risks, clusters, {}, ())))
    judged = found.judged("cosmos")
    assert judged.chain is not None
    if stuck == SEEDS:
        assert judged.verdict == "not supported"
        assert judged.step.rho.interval is None


def test_residuals_are_the_first_known_and_the_mean_of_the_end(arm, block, study, course) -> None:
    values = np.array([np.nan, *range(1, ROUNDS)]) + np.arange(SEEDS)[:, None]
    found = study(block(arm("cosmos", course(0.3, 1.0, 0.7), distill_residual=values)))
    assert found.residuals("cosmos") == {"distill_residual": (3.0, 29.0)}  # seeds add 0 to 4; rounds 25 to 29


def test_an_arm_is_held_against_controls_and_its_server(arm, block, study, course) -> None:
    own, alone = course(0.3, 1.0, 0.7), arm("local", course(0.5, 1.0, 0.85, salt=1))
    # Each cluster model has half the mean risk of its clients, and 0.1: a = 0.5 in both clusters.
    clusters = np.zeros((SEEDS, CLIENTS), dtype=np.int64)
    clusters[:, 5:] = 1
    halves = [np.broadcast_to(part.mean(axis=1, keepdims=True), part.shape) for part in (own[:, :5], own[:, 5:])]
    risks = {("client", "brier"): own, ("server_assigned", "brier"): 0.1 + 0.5 * np.concatenate(halves, axis=1)}
    taught = Arm("cosmos", "client", ("client", "server_assigned"), risks, clusters, {}, ())
    found = study(block(taught, alone))
    judged = found.judged("cosmos")
    assert judged.chain.a.estimate == pytest.approx(0.5)
    assert set(judged.controls) == {"local"}
    assert judged.controls["local"].estimate == pytest.approx(0.7 - 0.85, abs=0.02)
    assert found.judged("local").controls == {}
    assert found.judged("local").chain is None
    assert found.judged("frozen") is None
