"""Seconds of a round by engine (benchmarks room), and where the round's clocks say that they go."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import torch

from ..contenders.ours import Loop, Stacked

if TYPE_CHECKING:
    from ..measure import Row
    from ..workloads import Workload

ENGINES = {"stacked": Stacked, "loop": Loop}
"""Contenders by engine."""

WARM_UP, MEASURED = 2, 3
"""Rounds that are not measured, and that are: clients distil from the second round on."""

LIMIT = 150.0
"""Seconds after which no further round is begun, where two are done: a part stays under eight minutes."""

CLOCKS = ("training", "server", "evaluation")
"""Parts of a round; a device has done its work when their clocks stop."""


def measure_rounds(workload: Workload, device: str, engine: str) -> Row:
    """Run rounds of a workload with one engine.

    Args:
        workload: what a round is.
        device: a torch device.
        engine: one of `ENGINES`.
    Returns:
        `seconds` of each measured round, medians of its clocks, gradient `steps` of a round, and the `peak_bytes` of
        memory (None on a CPU).
    """
    card = device.startswith("cuda")
    running = ENGINES[engine](workload, workload.deal(), device, 0)
    if card:
        torch.cuda.reset_peak_memory_stats(device)
    seconds: list[float] = []
    while len(seconds) < WARM_UP + MEASURED and (len(seconds) < 2 or sum(seconds) < LIMIT):
        began = time.perf_counter()
        running.round()
        seconds.append(time.perf_counter() - began)
    first = min(WARM_UP, len(seconds) - 1)
    clocks = {
        clock: statistics.median(float(row[f"seconds_{clock}"] or 0) for row in running.rows[first:])
        for clock in CLOCKS
    }
    return {
        "engine": engine,
        "seconds": seconds[first:],
        **clocks,
        "steps": running.steps,
        "peak_bytes": torch.cuda.max_memory_allocated(device) if card else None,
    }
