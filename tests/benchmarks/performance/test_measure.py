"""Measuring: who is timed when, ratios, arithmetic, and what a grid, a cell and a fresh process say of themselves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from fl_bench.benchmarks.performance.comparison import compare
from fl_bench.benchmarks.performance.contenders.plain import Plain
from fl_bench.benchmarks.performance.grids import WarmGrid
from fl_bench.benchmarks.performance.measure import Turns, flops, in_fresh_process, matrix_rate, ratio, start_up
from fl_bench.benchmarks.performance.overhead import overhead
from fl_bench.benchmarks.performance.step import KINDS, step_parts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fl_bench.benchmarks.performance.workloads import Workload


def test_turns_alternate_and_forget_the_warm_up() -> None:
    order: list[str] = []
    turns = Turns({name: lambda name=name: order.append(name) for name in "abc"})  # type: ignore[misc]
    for _ in range(3):
        turns.others()
        turns.last()
    assert "".join(order) == "abcabcabc"
    assert all(seconds == turns.seconds[name][1:] for name, seconds in turns.measured(2, 1).items())


def test_ratio_is_of_medians_and_pairs() -> None:
    # Medians 4 and 2; pairs 2/2, 4/1, 9/3.
    assert ratio([2.0, 4.0, 9.0], [2.0, 1.0, 3.0]) == {"ratio": 2.0, "lowest": 1.0, "highest": 4.0}


@pytest.mark.parametrize("name", ["W1", "W2", "W3 FedMD"])
def test_arithmetic_is_that_of_a_plain_round(toy: Callable[[str], Workload], name: str) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    workload = toy(name)
    plain = Plain(workload, workload.deal(), "cpu", 0)
    plain.round()
    with FlopCounterMode(display=False) as counter:
        plain.round()
    # FedMD's digest ends with full batches: 3 clients see ceil(70 / 32) batches, the last one of 6 images, as plain.
    assert flops(workload) == pytest.approx(counter.get_total_flops(), rel=1e-9)


def test_an_mlp_round_of_the_issue() -> None:
    from fl_bench.benchmarks.performance.workloads import W2

    # Per image 2 x (784 x 200 + 200 x 10) forward, as much for the gradients of weights, and 2 x 200 x 10 for the
    # gradient of the hidden layer: 639 200; 12 000 images; and 317 600 for each of 10 000 test images.
    assert flops(W2) == 12_000 * 639_200 + 10_000 * 317_600


def test_matrix_rate_leaves_threads_as_they_were() -> None:
    import torch

    before = torch.get_num_threads()
    assert matrix_rate("cpu", 2, size=64, repeats=1) > 1e6
    assert torch.get_num_threads() == before


@pytest.mark.slow
def test_a_warm_grid_times_its_own_cells_only(toy: Callable[[str], Workload], tmp_path: Path) -> None:
    running = WarmGrid(toy("W2"), tmp_path, seeds=3, rounds=2)
    times = running.finish()
    running.close()
    assert 0 < times.work < times.cell < times.wall
    assert times.busy is None or times.busy > 0
    seeds = {json.loads(path.read_text())["cell"]["seed"] for path in tmp_path.glob("runs/*/*/run.json")}
    assert {0, 1, 2} < seeds


@pytest.mark.slow
def test_memory_of_a_fresh_process(toy: Callable[[str], Workload]) -> None:
    row = in_fresh_process(toy("W2"), rounds=2, warmup=1)
    assert row["base_bytes"] <= row["loaded_bytes"] <= row["peak_bytes"]
    assert len(row["seconds"]) == len(row["seconds_server"]) == 2
    assert row["parameters"] == 784 * 200 + 200 + 200 * 10 + 10


def test_parts_of_a_round_make_the_round(toy: Callable[[str], Workload], tmp_path: Path) -> None:
    row = overhead(toy("W2"), tmp_path, rounds=2)
    parts = ("training", "server", "evaluation", "checkpoint", "other")
    assert row["round"] == pytest.approx(sum(row[part] for part in parts))
    assert 0 < row["channel"] < row["round"]
    assert row["share"] == pytest.approx((row["checkpoint"] + row["channel"] + row["other"]) / row["round"])


def test_parts_of_a_step_make_the_step(toy: Callable[[str], Workload]) -> None:
    row = step_parts(toy("W2"))
    assert row["steps"] == 6
    assert row["step"] == pytest.approx(row["rest"] + sum(row[kind] for kind in KINDS))
    assert all(row[kind] > 0 for kind in ("products", "elementwise", "loss", "optimizer", "batches"))
    assert row["pooling"] == 0  # an MLP


def test_the_cnn_pools(toy: Callable[[str], Workload]) -> None:
    assert step_parts(toy("W1"))["pooling"] > 0


def test_start_up_times_every_start() -> None:
    assert len(start_up(["--help"], 2)) == 2


def test_a_comparison_keeps_a_row_of_each(toy: Callable[[str], Workload]) -> None:
    class Benchmark:
        def pedantic(self, target: Any, setup: Any, rounds: int, warmup_rounds: int) -> None:
            for _ in range(warmup_rounds + rounds):
                setup()
                target()

    rows: list[dict[str, Any]] = []
    compare(Benchmark(), lambda table, row: rows.append({"table": table, **row}), toy("W2"), ["plain", "fl-bench"], 2)
    assert [(row["table"], row["contender"], row["steps"]) for row in rows] == [
        ("rounds", "plain", 6),
        ("rounds", "fl-bench", 6),
    ]
    assert all(len(row["seconds"]) == 2 for row in rows)
    assert rows[0]["ratio"] == 1.0
