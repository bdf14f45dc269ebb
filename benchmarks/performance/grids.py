"""Grids through the executor, timed from when its workers are up (benchmarks room)."""

from __future__ import annotations

import multiprocessing
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..records.reading import read_record
from ..records.store import Store
from ..running.local import run_cells
from ..running.provenance import available_cores
from ..running.runner import Options
from .workloads import PLUGIN

if TYPE_CHECKING:
    from ..running.executor import Event
    from .workloads import Workload

WARM_UP_SEED = 1000
"""Seeds from here on are those of warm-up cells."""


@dataclass(frozen=True)
class GridTimes:
    """What a grid took from the moment its workers were warm."""

    wall: float
    """Seconds until the last cell had its record."""
    busy: float | None
    """CPU seconds that the workers used meanwhile; None where the system does not say."""
    workers: int
    cell: float
    """Mean seconds of a cell from its start to its record."""
    work: float
    """Mean seconds of a cell in training, server and evaluation; the rest of `cell` is overhead."""
    gap: float
    """Mean seconds between the record of a cell and the start of the next one."""


class WarmGrid:
    """A grid whose workers have each run one round of the same workload: torch, data and kernels are loaded.

    Args:
        workload: what the cells run.
        folder: where records go; empty.
        seeds: cells.
        rounds: rounds of each cell.
    """

    def __init__(self, workload: Workload, folder: Path, *, seeds: int, rounds: int) -> None:
        self.cells = workload.cells(range(seeds), rounds)
        self.workers = min(available_cores(), seeds)
        first = workload.cells(range(WARM_UP_SEED, WARM_UP_SEED + self.workers), 1)
        options = Options(plugins=(str(PLUGIN),))
        self._events = run_cells([*first, *self.cells], Store(folder), options, devices=["cpu"] * self.workers)
        self._seen: list[tuple[float, Event]] = []
        for event in self._events:
            if event.kind == "started" and event.cell.seed < WARM_UP_SEED:
                self._seen.append((time.perf_counter(), event))
                break
        self._busy = _cpu_seconds()

    def finish(self) -> GridTimes:
        """Run the rest.

        Raises:
            RuntimeError: a cell is not `done`.
        """
        left = {cell.key for cell in self.cells}
        while left:
            event = next(self._events)
            if event.kind in ("started", "ended") and event.cell.seed < WARM_UP_SEED:
                self._seen.append((time.perf_counter(), event))
            if event.kind == "ended":
                assert event.ending is not None
                if event.ending.status != "done":
                    raise RuntimeError(f"{event.cell.folder} is {event.ending.status}: {event.ending.reason}")
                left.discard(event.cell.key)
        busy = _cpu_seconds()
        return replace(self._times(), busy=None if busy is None or self._busy is None else busy - self._busy)

    def close(self) -> None:
        """Stop the workers."""
        self._events.close()

    def _times(self) -> GridTimes:
        started = {event.cell.key: when for when, event in self._seen if event.kind == "started"}
        ended = {event.cell.key: when for when, event in self._seen if event.kind == "ended"}
        folders = [event.ending.folder for _, event in self._seen if event.ending is not None]
        starts = sorted(started.values())
        # A worker takes its next cell right after the record of its last one, so the next start follows an end.
        gaps = [min(later) - end for end in ended.values() if (later := [start for start in starts if start > end])]
        walls = [ended[key] - started[key] for key in ended]
        return GridTimes(
            wall=max(ended.values()) - min(starts),
            busy=None,
            workers=self.workers,
            cell=sum(walls) / len(walls),
            work=sum(map(_seconds_of_work, folders)) / len(folders),
            gap=sum(gaps) / len(gaps) if gaps else 0.0,
        )


def _seconds_of_work(folder: Path) -> float:
    rows = read_record(folder).rounds
    return sum(float(row[f"seconds_{part}"] or 0) for row in rows for part in ("training", "server", "evaluation"))


def _cpu_seconds() -> float | None:
    """CPU seconds that this process's children have used so far, by Linux's /proc; None elsewhere."""
    ticks = 0
    for child in multiprocessing.active_children():
        try:
            fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
