"""What the harness costs beside the method's own work: where the seconds of a round go (benchmarks room)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ..grid.plugins import load_plugins
from ..records.reading import read_record
from ..records.store import Store
from ..running.runner import Options, run_cell
from .contenders.ours import FlBench
from .measure import timed
from .threads import torch_threads
from .workloads import PLUGIN

if TYPE_CHECKING:
    from pathlib import Path

    from .measure import Row
    from .workloads import Workload


def overhead(workload: Workload, folder: Path, rounds: int) -> Row:
    """Run one cell in this process as a worker does, with checkpoints and a record, and split its seconds.

    Args:
        workload: what the cell runs.
        folder: where its record goes; empty.
        rounds: rounds of the cell, over which the record is shared out.
    Returns:
        Seconds per round: `round` (all but the set-up), `training`, `server`, `evaluation`; and of the harness
        `checkpoint`, `channel` (what lies between the round loop and the method: cohorts, messages, checks; it is
        part of `training`) and `other` (record, bookkeeping, progress). `share`: the harness's part of a round.
    Raises:
        RuntimeError: the cell is not `done`.
    """
    load_plugins([str(PLUGIN)])
    (cell,) = workload.cells([0], rounds)
    began = time.perf_counter()
    ending = run_cell(cell, Store(folder), Options())
    wall = time.perf_counter() - began
    with torch_threads(1):  # as the cell did
        channel = _channel_seconds(workload, rounds)
    if ending.status != "done":
        raise RuntimeError(f"{ending.folder} is {ending.status}: {ending.reason}")
    record = read_record(ending.folder)
    setup = sum(float(record.run["clocks"][f"seconds_{part}"]) for part in ("loading", "setup"))
    parts = {
        part: sum(float(row[f"seconds_{part}"] or 0) for row in record.rounds) / rounds
        for part in ("training", "server", "evaluation", "checkpoint")
    }
    whole = (wall - setup) / rounds
    other = whole - sum(parts.values())
    harness = parts["checkpoint"] + channel + other
    return {**parts, "round": whole, "channel": channel, "other": other, "share": harness / whole}


def _channel_seconds(workload: Workload, rounds: int) -> float:
    """Seconds per round of the phase `training` outside the method's own `client_update`."""
    ours = FlBench(workload, workload.deal(), "cpu", 0)
    ours.round()
    spent: list[float] = []
    method: Any = ours.run.method
    method.client_update = timed(method.client_update, spent)
    for _ in range(rounds):
        ours.round()
    training = sum(float(row["seconds_training"] or 0) for row in ours.rows[1:])
    return (training - sum(spent)) / rounds
