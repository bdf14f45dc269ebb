"""What the executor `ray` does in one run (benchmarks room): which tasks there are, and what becomes of their cells."""

from __future__ import annotations

import statistics
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from fl_bench.errors import ConfigError

from .executor import Event, ExecutorLost
from .handshake import Mixture
from .local import START_LIMIT
from .ray_cluster import Cancel, Nodes, Over, Said, Submit
from .ray_tasks import EXIT, ON
from .shares import Shares
from .unfinished import death

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from ..grid.cell import Cell
    from .job import Job
    from .ray_cluster import Node
    from .ray_link import Link
    from .remote import Remote

BATCH_SECONDS = 120.0
"""Seconds that the cells of a task may take together; beside longer ones, loading libraries is nothing."""

GPU = "cuda:0"
"""The device of a worker with a GPU: it sees the one that Ray gave it, and no other."""


class Settings(Protocol):
    """Settings of the executor that say what a task is."""

    @property
    def jobs(self) -> int | None:
        """The most tasks at a time; None: as many as there is room for."""

    @property
    def cpus(self) -> int:
        """CPUs of a task."""

    @property
    def batch(self) -> int:
        """The most cells that a task on a CPU takes."""


def room(nodes: Sequence[Node], cpus: int, gpus: float) -> int:
    """How many tasks a cluster has room for, if nobody else used it.

    Args:
        nodes: its nodes.
        cpus: CPUs of each task.
        gpus: GPUs of each task, at most 1.
    """
    count = 0
    for node in nodes:
        tasks = int(node.cpus // cpus)
        count += min(tasks, int(node.gpus) * int(1 / gpus + 1e-9)) if gpus else tasks
    return count


def batch_size(waiting: int, slots: int, seconds: Sequence[float], most: int) -> int:
    """How many cells a task takes: fewer towards the end, so that nobody waits long for the last ones.

    Args:
        waiting: cells that no task has.
        slots: tasks that run at a time.
        seconds: how long cells took so far.
        most: never more than so many.
    """
    fair = waiting // (2 * max(1, slots))
    if seconds:
        fair = min(fair, int(BATCH_SECONDS / max(statistics.fmean(seconds), 1e-9)))
    return max(1, min(most, fair))


def gpus_of(device: str, share: float) -> float:
    """GPUs of a task that takes a share of one."""
    return share if device == GPU else 0.0


@dataclass
class _Task:
    number: int
    jobs: deque[Job]
    """What it has not ended, in its order; the first is what it does."""
    share: float
    without: tuple[str, ...] = ()
    """Ray's names for the nodes that it was kept from."""
    node: str = ""
    """The machine it runs on, once it does."""
    name: str = ""
    """Ray's name for that node."""
    lost: bool = False
    """Whether the node is gone, or it waited while one went."""

    @property
    def limit(self) -> float | None:
        """When it is late, by the monotonic clock; while it waits for a node it is not."""
        return self.jobs[0].limit if self.node and self.jobs else None


@dataclass
class Driver:
    """One run of the executor: which tasks there are, and what becomes of their cells."""

    settings: Settings
    link: Link
    remote: Remote
    device: str
    shares: Shares = field(default_factory=Shares)
    tasks: dict[int, _Task] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    """How long cells took."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Nodes that would give other numbers or cannot work, by Ray's names for them, and why."""
    known: set[str] = field(default_factory=set)
    """Ray's names for the nodes that were there at the last look."""
    gone: tuple[str, ...] = ()
    """Ray's names for those that went when nodes last did."""
    said: deque[Event] = field(default_factory=deque)
    count: int = 0
    seen: float = field(default_factory=time.monotonic)
    """When there was a node with room, by the monotonic clock."""

    def run(self) -> Generator[Event, None, None]:
        """Submit tasks and hear them until none is left; what happens is said as it does."""
        while True:
            self._submit()
            yield from self._events()
            if not self.tasks:
                return
            limits = [limit for task in self.tasks.values() if (limit := task.limit) is not None]
            for word in self.link.words(max(0.0, min(limits) - time.monotonic()) if limits else START_LIMIT):
                if isinstance(word, Said) and word.task in self.tasks:
                    self._hear(self.tasks[word.task], word.line)
                elif isinstance(word, Over) and word.task in self.tasks:
                    self._over(self.tasks[word.task], word)
                elif isinstance(word, Nodes):
                    self._look_at(word)
            for task in list(self.tasks.values()):
                if task.limit is not None and time.monotonic() >= task.limit:
                    self.remote.late(task.jobs[0])
                    self._tidy(task)
            yield from self._events()

    @property
    def nodes(self) -> list[Node]:
        """The nodes that take our tasks."""
        return [node for node in self.link.nodes if node.name not in self.left_out]

    def _events(self) -> Generator[Event, None, None]:
        while self.said:
            yield self.said.popleft()
        for event in self.remote.events():
            if event.kind == "ended":
                self.seconds.append(event.seconds)
            yield event

    def _submit(self) -> None:
        """Submit tasks while there is room, and one more, which a new node finds waiting."""
        while self.remote.waiting:
            if self.settings.jobs is not None:
                if len(self.tasks) >= self.settings.jobs:
                    return
            elif not self._has_room() and any(not task.node for task in self.tasks.values()):
                return
            task = self._task()
            if task is None:
                return
            orders, gpus = tuple(job.order for job in task.jobs), gpus_of(self.device, task.share)
            task.without = tuple(dict.fromkeys([*self.left_out, *self.gone]))
            self.link.submit(Submit(task.number, orders, self.settings.cpus, gpus, task.without))
            self.tasks[task.number] = task

    def _has_room(self) -> bool:
        slots = room(self.nodes, self.settings.cpus, 0.0)
        if self.device == GPU:
            taken = sum(task.share for task in self.tasks.values())
            return len(self.tasks) < slots and taken < sum(node.gpus for node in self.nodes)
        return len(self.tasks) < slots

    def _task(self) -> _Task | None:
        """The next cells that wait, as a task; None when none does."""
        slots = self.settings.jobs or room(self.nodes, self.settings.cpus, gpus_of(self.device, 1.0))
        size = 1 if self.device == GPU else batch_size(self.remote.waiting, slots, self.seconds, self.settings.batch)
        share = self.shares.of if self.device == GPU else None
        jobs: deque[Job] = deque()
        while len(jobs) < size and (job := self.remote.next(self.device, share)) is not None:
            jobs.append(job)
        if not jobs:
            return None
        self.count += 1
        return _Task(self.count, jobs, jobs[0].share or 0.0)

    def _hear(self, task: _Task, line: bytes) -> None:
        job = task.jobs[0]
        if line.startswith(ON):
            task.name, _, task.node = line.removeprefix(ON).decode(errors="replace").partition(" ")
            job.began = time.monotonic()
        elif line.startswith(EXIT):
            code = line.removeprefix(EXIT).decode(errors="replace")
            self.remote.lost(job, "crash", death(int(code) if code.lstrip("-").isdecimal() else None))
        else:
            try:
                self.remote.hear(job, line)
            except ConfigError as error:
                self._leave_out(task.name, task.node, error, job.cell)
            if job.memory is not None:
                self.shares.measured(job.cell, *job.memory)
        self._tidy(task)

    def _leave_out(self, name: str, machine: str, error: ConfigError, cell: Cell) -> None:
        """Give no more tasks to a node; where no other node has room, that is an error.

        Args:
            name: Ray's name for it.
            machine: the machine's.
            error: why.
            cell: whose task found out.
        Raises:
            ConfigError: says of every node why not.
        """
        if name not in self.left_out:
            self.left_out[name] = error.words if isinstance(error, Mixture) else str(error)
            self.said.append(Event("said", cell, reason=f"the node {machine} is left out: {self.left_out[name]}"))
        if not room(self.nodes, self.settings.cpus, gpus_of(self.device, 1.0)):
            if len(self.left_out) == 1:
                raise error
            raise ConfigError(f"no node of the Ray cluster can be used: {' / '.join(self.left_out.values())}")

    def _broken(self, task: _Task, word: Over) -> None:
        """A task could not begin: without the nodes where none can, its cells wait again.

        Raises:
            ConfigError: no such node was open to it, or there is no other.
        """
        unfit = [] if task.node else [node for node in word.unfit if node[0] not in task.without]
        error = ConfigError(f"{word.reason}; every node needs the same fl-bench (pip install 'fl-bench[ray]')")
        if not unfit:
            raise error
        for name, machine in unfit:
            self._leave_out(name, machine, error, task.jobs[0].cell)
        self.remote.give_back(task.jobs[0])
        self._tidy(task)

    def _over(self, task: _Task, word: Over) -> None:
        """A task has ended, whether it was to end or not."""
        if word.cause == "broken":
            self._broken(task, word)
            return
        if word.cause == "gone":
            raise ExecutorLost(word.reason)
        where = f" on {task.node}" if task.node else ""
        self.remote.lost(task.jobs[0], word.cause or "crash", f"{word.reason or 'the task ended too early'}{where}")
        self._tidy(task)

    def _tidy(self, task: _Task) -> None:
        """Turn to the next cell of a task whose first is over; end a task that is spoilt, or has no more."""
        job = task.jobs[0]
        if not job.over:
            return
        task.jobs.popleft()
        if task.jobs and not job.spoilt:
            task.jobs[0].began = time.monotonic()
            return
        for other in reversed(task.jobs):
            self.remote.give_back(other)
        del self.tasks[task.number]
        if job.spoilt:
            self.link.submit(Cancel(task.number, task.lost))

    def _look_at(self, word: Nodes) -> None:
        """See which nodes are gone; give up where the cluster has had no room for a task for too long.

        Ray itself may wait for ever for a node that hangs: for a task there, or for one that was about to go there. It
        asks that node for room on behalf of all tasks that want the same; those that stay away from it want another.
        """
        names = {node.name for node in word.nodes}
        gone, self.known = self.known - names, names
        self.gone = tuple(sorted(gone)) or self.gone
        for task in [task for task in self.tasks.values() if gone and (not task.node or task.name in gone)]:
            task.lost = True
            if task.node:
                self.remote.lost(task.jobs[0], "node", f"the node {task.node} is gone")
            else:
                self.remote.give_back(task.jobs[0])
            self._tidy(task)
        if self.settings.jobs is not None or room(self.nodes, self.settings.cpus, gpus_of(self.device, 1.0)):
            self.seen = time.monotonic()
        elif time.monotonic() - self.seen > START_LIMIT:
            raise ConfigError(
                f"no node of the Ray cluster at {word.head} has had room for a task for {START_LIMIT / 60:g} minutes"
                f"{''.join(f'; left out: {why}' for why in self.left_out.values())}"
            )
