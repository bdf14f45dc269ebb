"""Several processes on one card (benchmarks room): rounds per hour side by side, and cells per hour of a grid."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ...records.store import Store
from ...running.local import run_cells
from ...running.runner import Options
from ..workloads import PLUGIN

if TYPE_CHECKING:
    from ..measure import Row
    from ..workloads import Workload

AT_ONCE = (1, 2, 4)
"""Processes that share a card."""

SHARED_ROUNDS = 2
"""Rounds that each of them runs while it is measured."""

LIMIT = 100.0
"""Seconds after which nothing further is tried: a part stays under eight minutes."""

CELLS = 8
"""Cells of a grid; two on a CPU."""


def measure_processes(workload: Workload, device: str, engine: str, *, small: bool) -> list[Row]:
    """Rounds per hour where several processes share the device, one run each; seconds to start are left out.

    Args:
        workload: what a round is, by its name one of `SUBJECTS`.
        device: a torch device; a CPU has one process.
        engine: `stacked` or `loop`.
        small: whether workers make it tiny.
    """
    rows: list[Row] = []
    start = time.perf_counter()
    for count in AT_ONCE if device.startswith("cuda") else (1,):
        if time.perf_counter() - start > LIMIT:
            break
        command = [sys.executable, "-P", "-m", "fl_bench.benchmarks.performance.gpu.worker"]
        command += [workload.name, device, engine, *(["--tiny"] if small else [])]
        running = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
        ]
        for one in running:
            assert one.stdout is not None
            one.stdout.readline()  # it is warm
        began = time.perf_counter()
        for one in running:
            assert one.stdin is not None
            if one.poll() is None:
                one.stdin.write("go\n")
                one.stdin.flush()
        for one in running:
            one.communicate()
        seconds = time.perf_counter() - began
        failed = sum(one.returncode != 0 for one in running)
        per_hour = 3600 * (count - failed) * SHARED_ROUNDS / seconds
        rows.append(
            {"engine": engine, "at once": count, "failed": failed, "seconds": seconds, "rounds per hour": per_hour}
        )
    return rows


def measure_cells(workload: Workload, device: str, rounds: int) -> list[Row]:
    """Cells per hour of a grid, one at a time, several, and as many as the executor adds by the memory it sees.

    Args:
        workload: what a cell runs.
        device: a torch device.
        rounds: of each cell.
    Returns:
        Rows with `at once` (None where the executor chooses), `workers` that ran cells, `seconds` from the start of the
        first cell to the end of the last one, `failed` cells and `cells per hour`.
    """
    card = device.startswith("cuda")
    cells = workload.cells(range(CELLS if card else 2), rounds)
    rows: list[Row] = []
    start = time.perf_counter()
    for at_once in (1, None, *AT_ONCE[1:]) if card else (1, 2):
        if time.perf_counter() - start > LIMIT:
            break
        with tempfile.TemporaryDirectory() as folder:
            started, ended, failed, most, now = [], [], 0, 0, 0
            for event in run_cells(
                cells,
                Store(Path(folder)),
                Options(device=device, plugins=(str(PLUGIN),)),
                devices=[device] * (at_once or 1),
                most=0 if at_once else len(cells),
            ):
                if event.kind == "started":
                    started.append(time.perf_counter())
                    now += 1
                    most = max(most, now)
                elif event.kind == "ended":
                    ended.append(time.perf_counter())
                    now -= 1
                    failed += event.ending is None or event.ending.status != "done"
        seconds = max(ended) - min(started)
        per_hour = 3600 * (len(cells) - failed) / seconds
        rows.append(
            {"at once": at_once, "workers": most, "seconds": seconds, "failed": failed, "cells per hour": per_hour}
        )
    return rows
