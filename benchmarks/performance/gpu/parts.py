"""The parts of the measurement on a card (benchmarks room): each under eight minutes, with a result file of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..contenders.ours import Loop, Stacked
from ..measure import finish, timed_rounds
from .floors import measure_ceilings, need
from .memory import measure_memory
from .profiling import profile_round
from .workloads import LARGE, SUBJECTS, tiny

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..measure import Row
    from ..workloads import Workload

WARM_UP, MEASURED = 2, 3
"""Rounds that are not measured and that are; nets of the paper's size have one of the first and two of the second."""

AT_ONCE = (1, 2, 4, 8)
"""Processes that share a card."""

TESTS = ("tests/federation", "tests/methods/test_contract.py", "-k", "gpu or cuda")
"""Tests that are skipped without a GPU."""


@dataclass(frozen=True)
class Part:
    """One measurement."""

    name: str
    minutes: float
    """Predicted for an H200, at most eight; nothing of it was measured on one."""
    run: Callable[[str, bool], list[Row]]
    """Takes the device and whether everything is tiny; rows of plain values."""


def parts() -> dict[str, Part]:
    """All parts by name, in the order in which they are most useful."""
    found = [Part("ceilings", 0.5, lambda device, small: [measure_ceilings(device, tiny=small)])]
    for name, workload in SUBJECTS.items():
        minutes = 6.0 if name in LARGE else 1.0
        found.append(Part(f"round-{name}", minutes, _of(workload, measure_rounds)))
    for name in ("W2", "W1", "W3-COSMOS", "W6-resnet18-float32", "W6-mixed-bf16"):
        found.append(Part(f"profile-{name}", 2.0, _of(SUBJECTS[name], _profiled)))
    for name in (name for name in LARGE if name.endswith("float32")):
        found.append(Part(f"memory-{name}", 3.0, _of(SUBJECTS[name], measure_memory)))
    for name in ("W2", "W6-resnet18-float32"):
        found.append(Part(f"processes-{name}", 5.0, _of(SUBJECTS[name], measure_processes)))
    found.append(Part("tests", 6.0, _tested))
    return {part.name: part for part in found}


def measure_rounds(workload: Workload, device: str) -> list[Row]:
    """Seconds of rounds by engine, and what the round needs at least."""
    dealt = workload.deal()
    warm, count = (1, 2) if workload.server else (WARM_UP, MEASURED)
    rows: list[Row] = []
    for contender in (Stacked, Loop):
        running = contender(workload, dealt, device, 0)
        seconds = timed_rounds(running, count, warm)
        rows.append({"engine": contender.engine, "seconds": seconds, "steps": running.steps})
        running.close()
    required = need(workload)
    return [{**row, "precision": workload.precision, **required._asdict()} for row in rows]


def measure_processes(workload: Workload, device: str) -> list[Row]:
    """Rounds per hour where several processes share the device, one run each; seconds to start are left out."""
    rows: list[Row] = []
    for count in AT_ONCE[: 1 if device == "cpu" else None]:
        command = [sys.executable, "-P", "-m", "fl_bench.benchmarks.performance.gpu.worker", workload.name, device]
        command += [] if workload.clients > 2 else ["--tiny"]
        running = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
        ]
        for one in running:
            assert one.stdout is not None
            one.stdout.readline()  # it is warm
        began = time.perf_counter()
        for one in running:
            one.communicate("go\n")
        seconds = time.perf_counter() - began
        failed = sum(one.returncode != 0 for one in running)
        rounds = (count - failed) * MEASURED
        rows.append({"at once": count, "failed": failed, "seconds": seconds, "rounds/hour": 3600 * rounds / seconds})
    return rows


def _profiled(workload: Workload, device: str) -> list[Row]:
    running = Stacked(workload, workload.deal(), device, 0)
    timed_rounds(running, 1, 1)
    row = profile_round(running, device)
    running.close()
    finish(device)
    return [row]


def _tested(device: str, small: bool) -> list[Row]:
    arguments = ["--collect-only"] if small or not device.startswith("cuda") else []
    command = [sys.executable, "-m", "pytest", "-q", *TESTS, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [{"exit": done.returncode, "told": done.stdout.strip().splitlines()[-1:]}]


def _of(workload: Workload, measure: Callable[[Workload, str], list[Row]]) -> Callable[[str, bool], list[Row]]:
    return lambda device, small: measure(tiny(workload) if small else workload, device)
