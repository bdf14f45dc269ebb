"""The executor `subprocess` (benchmarks room): workers of the worker protocol on this machine, which share no folder.

It runs cells as other machines do, orders and records as text through a pipe, and so shows what they would do.
"""

from __future__ import annotations

import queue
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from fl_bench.errors import ConfigError

from ..grid.executors import executor
from .child import Child
from .local import choose_devices, shared_out
from .remote import Remote
from .unfinished import death

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from ..grid.cell import Cell
    from ..records.store import Store
    from .executor import Event
    from .job import Job
    from .runner import Options

    Lines: TypeAlias = "queue.SimpleQueue[tuple[_Worker, Child, bytes | None]]"


@executor("subprocess")
@dataclass(frozen=True)
class Subprocess:
    """Runs cells in processes of this machine that share no folder with each other, as machines far apart do."""

    jobs: int | None = None
    """Runs at a time (`--jobs`); null: one per core, or per GPU."""
    device: str = "auto"
    """Where runs compute (`--device`): `auto`, `cpu`, `cuda` or `cuda:<n>`."""
    kept_every: float = 60.0
    """Seconds between checkpoints that a run sends."""

    def __post_init__(self) -> None:
        if not self.kept_every >= 0:
            raise ConfigError(f"subprocess.kept_every must not be below 0 seconds, got {self.kept_every:g}")

    def slots(self) -> list[str]:
        """The device of each worker; see `choose_devices`."""
        return choose_devices(self.device, self.jobs)

    def run(
        self, cells: Sequence[Cell], store: Store, options: Options, *, timeout: float | None = None
    ) -> Generator[Event, None, None]:
        """Run the cells; see `Executor.run`."""
        devices = self.slots()[: len(cells)]
        options = shared_out(options, len(devices))
        remote = Remote(cells, store, options, timeout=timeout, kept_every=self.kept_every)
        said: Lines = queue.SimpleQueue()
        workers = [_Worker(device, remote, said) for device in devices]
        try:
            while True:
                for worker in workers:
                    worker.take()
                yield from remote.events()
                jobs = [worker.job for worker in workers if worker.job is not None]
                if not jobs:
                    return
                limits = [limit for job in jobs if (limit := job.limit) is not None]
                _hear(said, max(0.0, min(limits) - time.monotonic()) if limits else None)
                for worker in workers:
                    if worker.is_late():
                        worker.end()
                        _hear(said, 0.0)  # what it said before
                        worker.late()
                    worker.tidy()
                yield from remote.events()
        finally:
            for worker in workers:
                worker.end()
            remote.close()


class _Worker:
    """A place for a worker: the process there, and what it does."""

    def __init__(self, device: str, remote: Remote, said: Lines) -> None:
        self.job: Job | None = None
        self._device = device
        self._remote = remote
        self._said = said
        self._child: Child | None = None

    def take(self) -> None:
        """Take the next cell, where there is one and nothing else to do."""
        if self.job is None:
            self.job = self._remote.next(self._device)
            if self.job is not None:
                if self._child is None:
                    self._child = self._start()
                self._child.send(self.job.order)

    def hear(self, line: bytes) -> None:
        """Pass on what the worker said."""
        if self.job is not None:
            self._remote.hear(self.job, line)

    def gone(self, child: Child) -> None:
        """A process has ended; unless we ended it, what it did is to be tried again."""
        if child is self._child and self.job is not None:
            self._remote.lost(self.job, "crash", death(child.exitcode))

    def is_late(self) -> bool:
        """Whether its time is up."""
        limit = None if self.job is None or self.job.over else self.job.limit
        return limit is not None and time.monotonic() >= limit

    def late(self) -> None:
        """Its time was up, and it was ended."""
        if self.job is not None:
            self._remote.late(self.job)

    def tidy(self) -> None:
        """End a worker that is spoilt, and forget a job that is over."""
        if self.job is not None and self.job.over:
            if self.job.spoilt:
                self.end()
            self.job = None

    def end(self) -> None:
        """Kill the process."""
        child, self._child = self._child, None
        if child is not None:
            child.end()

    def _start(self) -> Child:
        return Child(lambda child, line: self._said.put((self, child, line)))


def _hear(said: Lines, timeout: float | None) -> None:
    """Wait for a line, and pass on all that there are."""
    try:
        while True:
            worker, child, line = said.get(timeout=timeout)
            timeout = 0.0
            if line is None:
                worker.gone(child)
            else:
                worker.hear(line)
    except queue.Empty:
        pass
