"""Following job arrays (benchmarks room): what their tasks say as events, and what to do where tasks are gone.

Tasks run on whether or not anybody follows them. Cells that a task will take are followed; for others, tasks are
submitted. Records are read from the results folder, which the tasks write to.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from fl_bench.errors import ConfigError, FLBenchError

from ..records.record import RecordError
from .array import Array, Watch
from .executor import Event
from .job import Retries
from .order import read_cell, read_order
from .runner import finished
from .sbatch import counted, ids_to_cancel
from .wire import from_line

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

    from ..grid.cell import Cell
    from ..records.store import Store
    from .array import Said
    from .sbatch import Cluster, Task

ENDING = 30.0
"""Seconds that tasks have to end once there is nothing to do any more, and again once they were asked to."""

SUBMITTING = 20.0
"""Seconds after which a submission whose command was killed has come to the queue, or will never come."""

PAUSE = 5.0
"""Seconds between two looks at what tasks said, and at the queue."""


class Submit(Protocol):
    """Submits tasks for cells."""

    def __call__(self, free: Sequence[Cell], spent: Mapping[str, float]) -> tuple[Array, list[str]]:
        """The array, and the ids of its jobs.

        Args:
            free: the cells, at least one.
            spent: seconds that earlier attempts at them took, by key.
        """


def follow(
    cells: Sequence[Cell], store: Store, cluster: Cluster, submit: Submit, *, retry: bool, detach: bool
) -> Generator[Event, None, None]:
    """Submit tasks for cells that no task will take, and say what happens to all cells until they have ended.

    Closing the iterator leaves the tasks to the cluster.

    Args:
        cells: what to run.
        store: where tasks write records.
        cluster: where they run.
        submit: submits tasks for cells.
        retry: whether records that are not `done` are replaced.
        detach: whether to end as soon as tasks will take all cells.
    Raises:
        ConfigError: tasks are refused, or cannot work.
        RecordError: a record cannot be written.
    """
    following = _Following(cells, store, cluster, submit, retry)
    try:
        yield from following.begin()
        if detach:
            yield from following.leave("a job of the cluster runs it")
        while following.left:
            yield from following.look()
            if following.left:
                time.sleep(PAUSE)
        following.tidy()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(following.farewell()) from None
    finally:
        cluster.stop()


@dataclass
class _Following:
    cells: Sequence[Cell]
    store: Store
    cluster: Cluster
    submit: Submit
    retry: bool
    left: dict[str, Cell] = field(init=False)
    """Cells that have not ended, by key."""
    watches: list[Watch] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    """Those of the arrays that had not ended at the last look."""
    queue: str = ""
    """What was last said of them."""
    started: set[str] = field(default_factory=set)
    submissions: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    """What the last attempts at cells took, by key."""

    def __post_init__(self) -> None:
        self.left = {cell.key: cell for cell in self.cells}

    def begin(self) -> Iterator[Event]:
        """Find the tasks that will take cells, and submit others for the rest."""
        running = self.cluster.tasks() or []
        if self._on_their_way(running):
            yield self._say("tasks are being submitted, or whoever did was killed: waiting until the queue shows them")
            running = self._wait_for_them()
        taken: set[str] = set()
        for array in Array.all(self.store.results):
            theirs = [task for task in running if task.array == array.name]
            if theirs:
                watch = Watch(array)
                said = watch.news()
                takes = {key for key in self._keys_of(array) if key not in watch.ended}
                if takes - taken:
                    self.watches.append(watch)
                    yield self._say(
                        f"followed: job {ids_to_cancel(theirs)}, whose tasks take {counted(len(takes - taken), 'run')}"
                    )
                    yield from self._events(one for one in said if one.key in takes)
                taken |= takes
        free = [cell for key, cell in self.left.items() if key not in taken]
        if free:
            yield from self._submit(free)

    def look(self) -> Iterator[Event]:
        """Say what happened since the last look; where all tasks are gone, see to the cells that they left."""
        tasks = self.cluster.tasks()
        for watch in self.watches:
            yield from self._events(watch.news())
        for key in {key for watch in self.watches for key in watch.ended} & set(self.left):
            yield from self._ended(key, retry=False)
        if tasks is None or not self.left:  # the controller does not answer: nothing is known
            return
        names = {watch.array.name for watch in self.watches}
        self.tasks = [task for task in tasks if task.array in names]
        queue = _in_words(self.tasks)
        if queue != self.queue and self.tasks:
            yield self._say(queue)
        self.queue = queue
        if not self.tasks:
            yield from self._after()

    def leave(self, reason: str) -> Iterator[Event]:
        """Give up the cells that are left, for a reason."""
        for key in list(self.left):
            yield Event("skipped", self.left.pop(key), reason=reason)

    def tidy(self) -> None:
        """Remove the folders of arrays that are over, whose cells are all done.

        Tasks that they still have find nothing to do. Those that wait are cancelled, and so are those that run when
        their time to end is over.
        """
        over = [array for array in Array.all(self.store.results) if self._is_done(array)]
        began, asked = time.monotonic(), set[str]()
        while over and (tasks := self.cluster.tasks()) is not None:  # else nothing is known
            seconds = time.monotonic() - began
            theirs = [task for task in tasks if task.array in {array.name for array in over}]
            idle = [task for task in theirs if task.job not in asked and (task.state == "PENDING" or seconds > ENDING)]
            if idle:
                self.cluster.cancel(idle)
                asked.update(task.job for task in idle)
            busy = {task.array for task in theirs}
            for array in over:
                if array.name not in busy:
                    array.remove()
            over = [array for array in over if array.name in busy]
            if seconds > 2 * ENDING:
                break
            if over:
                time.sleep(min(PAUSE, 1.0))
        Array.sweep(self.store.results)

    def farewell(self) -> str:
        """What becomes of the tasks."""
        ids = ids_to_cancel(self.tasks or [*(self.cluster.tasks() or ())])
        return (
            f"stopped; the jobs go on without this command, which follows them when it is run again: scancel {ids} "
            "ends them"
            if ids
            else ""
        )

    def _on_their_way(self, running: Sequence[Task]) -> list[Array]:
        """Arrays with cells of ours whose command does not know the jobs yet, or was killed before it did."""
        there = {task.array for task in running}
        return [
            array
            for array in Array.all(self.store.results)
            if array.name not in there
            and not array.submitted.exists()
            and array.age < SUBMITTING
            and self._keys_of(array)
        ]

    def _wait_for_them(self) -> list[Task]:
        """Look at the queue until nothing is on its way; the tasks that it shows."""
        until = time.monotonic() + SUBMITTING
        while True:
            running = self.cluster.tasks() or []
            if not self._on_their_way(running) or time.monotonic() > until:
                return running
            time.sleep(min(PAUSE, 1.0))

    def _submit(self, free: Sequence[Cell]) -> Iterator[Event]:
        spent = {cell.key: seconds for cell in free if (seconds := self._spent(cell.key)) > 0}
        array, ids = self.submit(free, spent)
        self.submissions += 1
        self.watches = [*self.watches, Watch(array)]
        yield self._say(f"submitted for {counted(len(free), 'run')}: job {' '.join(ids)}, in {array.path}")

    def _after(self) -> Iterator[Event]:
        """All tasks are gone."""
        for watch in self.watches:  # what they said last
            yield from self._events(watch.news())
        ended = {key for watch in self.watches for key in watch.ended}
        for key in list(self.left):
            yield from self._ended(key, retry=self.retry and key not in ended)
        if not self.left:
            return
        watch = self.watches[-1]
        words = watch.last.values()
        for said in words:
            if said.kind in ("broken", "full"):
                raise (RecordError if said.kind == "full" else ConfigError)(said.reason)
        if not words:
            printed = watch.array.printed() or "it printed nothing"
            raise ConfigError(f"no task began to work before all had ended: {printed}; see {watch.array.batch}")
        held = {key: held for key, cell in self.left.items() if (held := self.store.holder(cell)) is not None}
        stopped = [said.reason for said in words if said.kind == "stopped"]
        if any(said.kind not in ("left", "stopped") for said in words) or not (stopped or len(held) == len(self.left)):
            if len(held) == len(self.left):
                return  # by the leases of tasks that are lost, as far as one can know: wait
            if self.submissions > Retries.node:
                yield from self.leave(f"its tasks were lost {self.submissions} times; see {watch.array.batch}")
            else:
                yield from self._submit(list(self.left.values()))
        elif stopped:
            yield from self.leave(f"its task has stopped: {stopped[0]}; run the same command again to go on")
        else:
            for key, holder in held.items():
                yield Event("skipped", self.left.pop(key), reason=str(holder))

    def _events(self, said: Iterable[Said]) -> Iterator[Event]:
        for one in said:
            cell = self.left.get(one.key)
            if cell is None:
                continue
            if one.kind == "started":
                if one.key not in self.started:  # another attempt is no news
                    self.started.add(one.key)
                    yield Event("started", cell)
            elif one.kind == "round" and one.key in self.started:
                yield Event("round", cell, round=one.round, accuracy=one.accuracy, seconds=one.seconds)
            elif one.kind == "ended":
                self.seconds[one.key] = one.seconds
                yield from self._ended(one.key, retry=False)

    def _ended(self, key: str, *, retry: bool) -> Iterator[Event]:
        """The event of a cell that has a record; a file server may show it later than the task says so."""
        ending = finished(self.left[key], self.store, retry=retry)
        if ending is not None:
            yield Event("ended", self.left.pop(key), ending=ending, seconds=self.seconds.get(key, 0.0))

    def _spent(self, key: str) -> float:
        return max(watch.spent(key) for watch in self.watches) if self.watches else 0.0  # later ones count earlier ones

    def _keys_of(self, array: Array) -> set[str]:
        """Our cells that an array's tasks will take."""
        order = from_line(array.order.read_bytes(), str(array.order))
        if self.retry and not order["options"]["retry"]:
            return set()
        theirs = {_text(parcel["cell"]) for parcel in order["cells"]}
        return {key for key, cell in self.left.items() if _text(cell.as_dict()) in theirs}

    def _is_done(self, array: Array) -> bool:
        """Whether all cells of an array are done, as far as one can tell here."""
        try:
            cells = map(read_cell, read_order(array.order.read_bytes()).cells)
            return all(finished(cell, self.store, retry=True) is not None for cell in cells)
        except (FLBenchError, OSError):
            return False

    def _say(self, text: str) -> Event:
        return Event("said", self.cells[0], reason=text)


def _text(parcel: Mapping[str, object]) -> str:
    return json.dumps(parcel, sort_keys=True)


def _in_words(tasks: Sequence[Task]) -> str:
    """How many tasks run, how many wait, and why."""
    waiting = [task for task in tasks if task.state == "PENDING"]
    reasons = ", ".join(sorted({task.reason for task in waiting}))
    parts = [
        *([f"running: {counted(len(tasks) - len(waiting), 'task')}"] if len(tasks) > len(waiting) else []),
        *([f"waiting: {counted(len(waiting), 'task')} ({reasons})"] if waiting else []),
    ]
    return ", ".join(parts)
