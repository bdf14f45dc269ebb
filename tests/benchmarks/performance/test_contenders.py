"""Contenders do the same work: plain and fl-bench take the same steps on the same images and average the same way."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from fl_bench.benchmarks.performance.contenders.ours import FlBench
from fl_bench.benchmarks.performance.contenders.plain import FedAvgScript, Plain, clusters, net
from fl_bench.benchmarks.performance.contenders.registry import CONTENDERS, FRAMEWORKS, contender
from fl_bench.federation.models.build import build_net

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.benchmarks.performance.workloads import Workload


@pytest.mark.parametrize("name", ["W1", "W2", "W3 FedMD", "W3 COSMOS"])
def test_steps_of_a_round(toy: Callable[[str], Workload], name: str) -> None:
    # Private: 3 clients x ceil(40 / 32) = 6 steps. FedMD digests 3 x ceil(70 / 32) = 9 more from the second round on.
    # COSMOS: five passes over 70 images in batches of 32, end to end, are ceil(350 / 32) = 11 steps; 3 clients distil
    # from the second round on, and one to five cluster models (as many as there are clusters) learn in every round.
    workload = toy(name)
    dealt = workload.deal()
    expected = {
        "W1": ([6], [6]),
        "W2": ([6], [6]),
        "W3 FedMD": ([6], [6 + 9]),
        "W3 COSMOS": ([6 + k * 11 for k in (1, 2, 3)], [6 + 33 + k * 11 for k in (1, 2, 3)]),
    }[name]
    for kind in (Plain, FlBench):
        runner = kind(workload, dealt, "cpu", 0)
        for steps in expected:
            assert 0 <= runner.round() <= 100
            assert runner.steps in steps


@pytest.mark.parametrize("name", ["W1", "W2"])
def test_plain_and_fl_bench_find_the_same_weights(toy: Callable[[str], Workload], name: str) -> None:
    # Batches as large as a client's data leave nothing to chance: two rounds from the same start must agree.
    workload = replace(toy(name), batch_size=40, epochs=2)
    dealt = workload.deal()
    ours, plain = FlBench(workload, dealt, "cpu", 0), Plain(workload, dealt, "cpu", 0)
    script = plain.script
    assert isinstance(script, FedAvgScript)
    start = ours.run.client_models(workload.model).first()
    with torch.no_grad():
        for mine, theirs in zip(script.model.parameters(), start.values(), strict=True):
            mine.copy_(theirs[0])
    assert [ours.round() for _ in range(2)] == pytest.approx([plain.round() for _ in range(2)], abs=1.2)
    averaged = ours.run.method.w  # type: ignore[attr-defined]  # FedAvg's global model
    for mine, parameter in zip(script.model.parameters(), start, strict=True):
        torch.testing.assert_close(mine, averaged[parameter][0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["cnn-small", "mlp-200"])
def test_nets_are_the_zoos(name: str) -> None:
    zoo, mine = build_net(name, (1, 28, 28), 10, key=0), net(name, 10)
    with torch.no_grad():
        for parameter, original in zip(mine.parameters(), zoo.parameters(), strict=True):
            parameter.copy_(original)
        images = torch.randn(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(mine(images), zoo(images))


def test_plain_clusters_by_the_smallest_threshold() -> None:
    # On a line at 0, 1, 3, 10: the threshold 1 leaves {0, 1}, {3}, {10}; 2 lets 1 take both neighbours.
    predictions = torch.tensor([0.0, 1.0, 3.0, 10.0])[:, None, None]
    assert clusters(predictions, 4) == [0, 1, 2, 3]
    assert clusters(predictions, 3) == [0, 0, 1, 2]
    assert clusters(predictions, 2) == [0, 0, 0, 1]
    assert clusters(predictions, 1) == [0, 0, 0, 0]


def test_frameworks_say_why_they_are_left_out(toy: Callable[[str], Workload]) -> None:
    for name in FRAMEWORKS:
        assert contender(name).missing(toy("W3 FedMD"))
    for name in set(CONTENDERS) - set(FRAMEWORKS):
        assert contender(name).missing(toy("W3 FedMD")) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_installed_frameworks_run_a_round(toy: Callable[[str], Workload], name: str) -> None:
    reason = contender(name).missing(toy("W2"))
    if reason:
        pytest.skip(reason)
    runner = contender(name)(toy("W2"), toy("W2").deal(), "cpu", 0)
    assert 0 < runner.round() < 100
    runner.close()
