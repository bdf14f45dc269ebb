"""Workers of the worker protocol on this machine (benchmarks room): they are started, given cells, heard, ended.

The executor `subprocess` has them here (`apart.py`), a task of a job array on its node (`pulling.py`).
"""

from __future__ import annotations

import queue
import time
from typing import TYPE_CHECKING, Literal, TypeAlias

from .child import Child
from .unfinished import death, was_asked_to_end
from .worker import LATE

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from .executor import Event
    from .job import Job
    from .remote import Remote

    Lines: TypeAlias = "queue.SimpleQueue[tuple[_Worker, Child, bytes | None]]"


def attend(remote: Remote, devices: Sequence[str]) -> Generator[Event, None, None]:
    """Run what waits by workers that are processes of this machine, until nothing waits.

    Closing the iterator ends them.

    Args:
        remote: the cells; it is closed at the end.
        devices: the device of each worker.
    Raises:
        RecordError: a record cannot be written.
        ConfigError: a worker cannot start, or would give other numbers.
    """
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
            worker.ask()
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
        """A process has ended; unless we ended it or its time was up, what it did is to be tried again."""
        if child is not self._child or self.job is None:
            return
        if child.exitcode == LATE:
            self._remote.late(self.job)
            self.job.spoilt = True
        else:
            what: Literal["node", "crash"] = "node" if was_asked_to_end(child.exitcode) else "crash"
            self._remote.lost(self.job, what, death(child.exitcode))

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

    def ask(self) -> None:
        """Ask the process to let go of its cell and end."""
        if self._child is not None:
            self._child.ask()

    def end(self) -> None:
        """End the process, whatever it does."""
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
