"""The measurement on a card, tried at tiny size on a CPU: floors from shapes, profiles, estimates, and their files."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fl_bench.benchmarks.performance.gpu.floors import Need, need
from fl_bench.benchmarks.performance.gpu.parts import parts
from fl_bench.benchmarks.performance.gpu.profiling import covered
from fl_bench.benchmarks.performance.gpu.table import table
from fl_bench.benchmarks.performance.gpu.workloads import LARGE, SUBJECTS, W6, tiny
from fl_bench.benchmarks.performance.measure import flops
from fl_bench.benchmarks.performance.workloads import W1, W2, W3_COSMOS, W3_FEDMD

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fl_bench.benchmarks.performance.workloads import Workload

SECONDS = ("ceilings", "round-W2", "profile-W2", "memory-W6-squeezenet-float32", "processes-W2")


@pytest.mark.parametrize("workload", [W1, W2, W3_FEDMD, W3_COSMOS], ids=lambda one: one.name)
def test_operations_are_those_of_the_suite(workload: Workload) -> None:
    assert need(workload).operations == pytest.approx(flops(workload), rel=1e-9)


def test_bytes_are_weights_once_in_and_out_a_step_and_images() -> None:
    weights, pixels = 4 * (784 * 200 + 200 + 2000 + 10), 4 * 784
    trained, read = 12_000, 10_000
    assert need(W2).bytes == pytest.approx(
        2 * weights * trained / 32 + weights * read / 256 + pixels * (trained + read)
    )


def test_nets_that_take_turns_are_averaged_and_the_server_has_its_own() -> None:
    alone = [need(replace(W6, model=model)).operations for model in ("resnet18", "squeezenet")]
    assert need(replace(W6, model="resnet18+squeezenet")).operations == pytest.approx(sum(alone) / 2)
    served = [need(replace(W6, model="squeezenet", server=server)).operations for server in ("vgg16", "squeezenet")]
    assert served[0] > served[1]


def test_the_floor_is_the_longer_of_two_times() -> None:
    ceilings = {"float32": 100.0, "bf16": 1000.0, "copy": 10.0}
    assert Need(200.0, 10.0).seconds(ceilings, "float32") == {"operations": 2.0, "bytes": 1.0, "floor": 2.0}
    assert Need(200.0, 10.0).seconds(ceilings, "bf16")["floor"] == 1.0


def test_overlapping_kernels_are_busy_once() -> None:
    assert covered([(0, 2), (1, 3), (5, 6), (5.5, 5.75)]) == 4
    assert covered([]) == 0


def test_every_part_is_short_and_every_net_has_one() -> None:
    known = parts()
    assert all(part.minutes <= 8 for part in known.values())
    assert {f"round-{name}" for name in SUBJECTS} <= known.keys()
    assert {workload.server for workload in LARGE.values()} == {"vgg16"}


def test_tiny_is_tiny(toy: Callable[[str], Workload]) -> None:
    assert tiny(W6).images == "noise-32"
    assert tiny(toy("W3 COSMOS")).public == 20
    assert tiny(W1).public == 0


def test_parts_run_on_a_cpu_into_files_of_their_own_and_once(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "fl_bench.benchmarks.performance.gpu", "--out", str(tmp_path)]
    small = ["--device", "cpu", "--size", "tiny"]
    subprocess.run([*command, *small, *SECONDS], check=True, capture_output=True)
    rows = {name: json.loads((tmp_path / f"{name}.json").read_text())["rows"] for name in SECONDS}
    assert min(rows["ceilings"][0].values()) > 0
    assert [row["engine"] for row in rows["round-W2"]] == ["stacked", "loop"]
    assert rows["round-W2"][0]["steps"] == 2 * 2
    assert rows["profile-W2"][0]["launches"] > 0
    assert rows["profile-W2"][0]["gaps"] is None
    assert [(row["stack"], row["peak"]) for row in rows["memory-W6-squeezenet-float32"]] == [(1, None)]
    assert rows["processes-W2"][0]["failed"] == 0
    listed = subprocess.run([*command, "--list"], check=True, capture_output=True, text=True).stdout
    assert listed.count(" done") == len(SECONDS)
    lines = table(tmp_path).splitlines()
    (measured,) = (line for line in lines if line.startswith("| W2 |"))
    assert "not measured" not in measured
    assert sum("not measured" in line for line in lines) == len(SUBJECTS) - 1
    unknown = subprocess.run([*command, "round-W9"], check=False, capture_output=True, text=True)
    assert (unknown.returncode, "no part is named 'round-W9'" in unknown.stderr) == (2, True)
