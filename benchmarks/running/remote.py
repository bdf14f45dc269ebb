"""The driver's side of the worker protocol (benchmarks room): what waits, was heard, is kept, is tried again.

An executor moves bytes between `Remote` and workers, and knows where they are:

    remote = Remote(cells, store, options, timeout=timeout)
    while job := remote.next():         a cell that waits, with its order: send `job.order` to a worker
        remote.hear(job, line)          for each line that the worker says
        remote.lost(job, "node", why)   where a node or a worker is gone
        remote.late(job)                where the worker passed `job.limit`
        yield from remote.events()      what happened
    remote.close()

Once `job.over`, nothing more is expected of it; where `job.spoilt`, too, its worker may be in any state: kill it.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from fl_bench.errors import ConfigError, DataError, StorageError

from ..records.continuing import inherit, keep, kept
from ..records.lease import Held
from ..records.record import AlreadyRecorded, RecordError
from .executor import ELSEWHERE, Event
from .handshake import Mixture, data_of, mismatch, setup
from .job import Job, Retries
from .local import START_LIMIT
from .order import KEPT_EVERY, Order, Plugin
from .protocol import (
    MOST_CHECKPOINT,
    Broken,
    Ended,
    Finished,
    Hello,
    Kept,
    Late,
    Recorded,
    Refused,
    Skipped,
    Started,
    read_message,
)
from .runner import Ending, finished
from .shares import ran_out
from .unfinished import packed_values, record_for
from .wire import ProtocolError, encoded, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..grid.cell import Cell
    from ..records.lease import Claim
    from ..records.store import Store
    from .handshake import Setup
    from .protocol import Message
    from .runner import Options
    from .unfinished import Heard

    Cause = Literal["node", "crash", "memory"]
    """What ended an attempt; a field of `Retries`."""


class Remote:
    """Cells on their way to workers and back.

    Args:
        cells: what to run, in this order.
        store: where records and checkpoints go.
        options: how to run them; `device` is that of the workers.
        expected: what every node has to be equal to; this process by default, which then loads torch and the data.
        timeout: seconds that a cell may take, all its attempts together.
        shared: whether workers write to the folder of `store` themselves.
        retries: how often a cell is tried again.
        kept_every: seconds between checkpoints that workers send.
        ended: how a cell ended that need not run, None while it has to; `finished` by default.
        spent: seconds that earlier attempts at a cell took elsewhere, which count against `timeout`.
    Raises:
        ConfigError: a plugin file cannot be read.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        store: Store,
        options: Options,
        *,
        expected: Setup | None = None,
        timeout: float | None = None,
        shared: bool = False,
        retries: Retries | None = None,
        kept_every: float = KEPT_EVERY,
        ended: Callable[[Cell], Ending | None] | None = None,
        spent: Callable[[Cell], float] = lambda _: 0.0,
    ) -> None:
        self.store = store
        self.options = options
        self._plugins = tuple(map(Plugin.read, options.plugins))
        digests = {plugin.name: plugin.sha256 for plugin in self._plugins}
        self.expected = setup(digests, data_of(cells), options.data_dir) if expected is None else expected
        self._waiting = deque(cells)
        self._timeout = timeout
        self._shared = shared
        self._retries = retries or Retries()
        self._kept_every = kept_every
        self._events: deque[Event] = deque()
        self._jobs: list[Job] = []
        self._ended = ended or (lambda cell: finished(cell, store, retry=options.retry))
        self._spent_before = spent
        self._spent: dict[str, float] = {}
        """Seconds of earlier attempts, by key."""
        self._tries: Counter[tuple[str, str]] = Counter()
        self._heard: dict[str, Heard] = {}

    @property
    def waiting(self) -> int:
        """How many cells are with no worker yet."""
        return len(self._waiting)

    def next(self, device: str | None = None, share: Callable[[Cell], float] | None = None) -> Job | None:
        """The next cell that waits, held against other processes; None when none does.

        Args:
            device: the torch device of the worker, as it names it; that of `options` by default.
            share: how much of a GPU's memory a cell may take; all that there is by default.
        Raises:
            ConfigError: a plugin file cannot be read.
            RecordError: the results folder takes no claim.
        """
        while self._waiting:
            cell = self._waiting.popleft()
            held = ExitStack()
            try:
                if self._shared:
                    claim, holder = None, self.store.holder(cell)
                    if holder is not None:  # a worker would say so
                        raise Held(str(holder))
                else:
                    claim = held.enter_context(self.store.claim(cell))
                ending = self._ended(cell)
                if ending is None:
                    part = None if share is None else min(1.0, share(cell) * 2 ** self._tries[cell.key, "memory"])
                    job = self._job(cell, device, part, claim, held)
                    self._jobs.append(job)
                    return job
            except Held as error:
                self._events.append(Event("skipped", cell, reason=str(error)))
                continue
            except BaseException:
                held.close()
                raise
            held.close()
            self._events.append(Event("ended", cell, ending=ending, reason=ELSEWHERE))
        return None

    def hear(self, job: Job, line: bytes) -> None:
        """Take what a worker said; a garbled message ends the attempt.

        Raises:
            Mixture: the node would give other numbers; its cell waits again.
            ConfigError: the worker cannot work.
            RecordError: a record cannot be written, here or there.
        """
        if job.over:  # the worker was given up
            return
        try:
            self._take(job, read_message(line))
        except (ProtocolError, DataError) as error:
            self._again(job, "node", f"{job.node or 'a worker'} sent what cannot be used: {shown(str(error))}")
        except Held as error:  # another process has taken the cell over
            job.spoilt = True
            self._close(job, Event("skipped", job.cell, reason=str(error)))

    def lost(self, job: Job, what: Literal["node", "crash"], reason: str) -> None:
        """A node, or a worker, is gone; the cell is tried again, or its record says why not.

        Args:
            job: what it was doing.
            what: the node or the way to it (`node`), or the process (`crash`).
            reason: why, in a line.
        """
        if not job.over:
            self._again(job, what, reason)

    def late(self, job: Job) -> None:
        """The worker passed `job.limit`, and is gone."""
        if job.over:
            return
        job.spoilt = True
        if job.running:
            self._fail(job, "timeout", f"ran longer than the time limit of {self._timeout:g} s")
        else:
            reason = f"the worker had not loaded its libraries and the data after {START_LIMIT:g} s"
            self._fail(job, "failed", reason)

    def give_back(self, job: Job) -> None:
        """Nobody works on the cell any more, which is not its fault: it waits again, before all others."""
        if job.over:
            return
        self._close(job)
        job.spoilt = True
        self._waiting.appendleft(job.cell)

    def events(self) -> Iterator[Event]:
        """What happened since this was last asked."""
        while self._events:
            yield self._events.popleft()

    def close(self) -> None:
        """Let go of all cells; what was running continues from its checkpoints the next time."""
        for job in self._jobs:
            job.over = True
            job.held.close()

    def _job(self, cell: Cell, device: str | None, share: float | None, claim: Claim | None, held: ExitStack) -> Job:
        options = self.options if device is None else replace(self.options, device=device)
        spent = self._spent.setdefault(cell.key, self._spent_before(cell))
        timeout = None if self._timeout is None else max(self._timeout - spent, 0.001)
        checkpoints = {}
        if claim is not None:
            from ...federation.checkpoint import take_over  # imports torch, as every driver of workers has

            inherit(claim, take_over)
            state, finished_rounds = kept(claim)
            if 0 < len(state) + len(finished_rounds) <= MOST_CHECKPOINT:
                checkpoints = {cell.key: (encoded(state), encoded(finished_rounds))}
        order = Order(
            cells=(cell.to_worker(),),
            setup=self._expected(cell),
            options=replace(options, plugins=()),
            plugins=self._plugins,
            timeout=timeout,
            results=str(self.store.results.resolve()) if self._shared else None,
            checkpoints=checkpoints,
            kept_every=self._kept_every,
            gpu_share=share,
        )
        return Job(cell, order.text(), timeout, share=share, claim=claim, held=held)

    def _expected(self, cell: Cell) -> Setup:
        """What a node has to be equal to for this cell: of data, it needs those of the cell."""
        return replace(self.expected, data={name: self.expected.data[name] for name in data_of([cell])})

    def _take(self, job: Job, message: Message) -> None:
        if isinstance(message, Broken):
            self.give_back(job)
            kind = RecordError if message.storage else ConfigError
            raise kind(shown(f"{job.node or 'a worker'}: {message.reason}"))
        if isinstance(message, Hello | Refused):
            self._greet(job, message)
            return
        if message.key != job.cell.key:
            raise ProtocolError(f"a message is about the cell {message.key[:20]!r}, which it was not given")
        if not job.node:
            raise ProtocolError("it did not say what it is")
        match message:
            case Started():
                if job.running:
                    raise ProtocolError("a cell started twice")
                job.began, job.running = time.monotonic(), True
                job.heard.provenance = message.provenance
                self._events.append(Event("started", job.cell))
            case Finished():
                self._round(job, message)
            case Kept():
                self._keep(job, message)
            case Late():
                self.late(job)
            case Skipped():
                self._close(job, Event("skipped", job.cell, reason=shown(message.reason)))
            case Recorded() | Ended():
                self._record(job, message)

    def _greet(self, job: Job, message: Hello | Refused) -> None:
        """Compare what the node is with what is expected, whatever it makes of that itself."""
        if isinstance(message, Hello):
            name, reasons = message.setup.node, mismatch(self._expected(job.cell), message.setup)
        else:
            name, reasons = message.node, list(message.reasons)
        job.node = shown(name)[:100] or "a node without a name"
        if reasons or isinstance(message, Refused):
            self.give_back(job)
            raise Mixture(job.node, [shown(reason) for reason in reasons])

    def _round(self, job: Job, message: Finished) -> None:
        if message.round != len(job.heard.rows) or message.round >= job.cell.training.rounds:
            raise ProtocolError(f"round {message.round} came as number {len(job.heard.rows)}")
        if job.claim is not None:
            job.claim.check()
        job.heard.rows.append(packed_values(message.values, message.clients))
        job.heard.facts = message.facts
        if message.memory is not None and message.capacity is not None:
            job.memory = message.memory[0], message.capacity
        event = Event("round", job.cell, round=message.round, accuracy=message.accuracy, seconds=job.seconds)
        self._events.append(event)

    def _keep(self, job: Job, message: Kept) -> None:
        """A whole checkpoint takes the place of the one before."""
        if job.claim is None:
            raise ProtocolError("a checkpoint came, which is to stay in the folder that we share")
        place, whole = job.rounds, job.put_together(message)
        if whole is None:
            return
        job.claim.check()
        try:
            keep(job.claim, *whole, place)
        except StorageError as error:
            job.claim.check()  # who has lost the cell is told so
            raise RecordError(str(error)) from error

    def _record(self, job: Job, message: Recorded | Ended) -> None:
        """The cell has ended; a record that comes over the wire is checked before it is kept."""
        ending: Ending | None
        if isinstance(message, Recorded):
            if job.share is not None and job.share < 1 and self._may_try(job, "memory") and ran_out(message.files):
                self._again(job, "memory", "out of GPU memory")
                return
            ending = self._adopted(job, message)
        else:
            ending = finished(job.cell, self.store, retry=False) if self._shared else None
        if ending is None:
            raise ProtocolError("it says that a cell has ended, and there is no record")
        self._close(job, Event("ended", job.cell, ending=ending, seconds=job.seconds))

    def _adopted(self, job: Job, message: Recorded) -> Ending | None:
        try:
            self.store.adopt(job.cell, message.files, replace=self.options.retry, claim=job.claim)
        except RecordError as error:
            if job.claim is not None:
                job.claim.check()  # who has lost the cell is told so, whatever came of it
            if not isinstance(error, AlreadyRecorded):
                raise
        else:
            if job.claim is not None:
                job.claim.clear()
        return finished(job.cell, self.store, retry=False)

    def _may_try(self, job: Job, what: Cause) -> bool:
        return self._tries[job.cell.key, what] < int(getattr(self._retries, what))

    def _again(self, job: Job, what: Cause, reason: str) -> None:
        key = job.cell.key
        self._spent[key] = self._seconds(job)
        job.running = False  # counted
        before = self._heard.get(key)
        if before is None or len(job.heard.rows) >= len(before.rows):
            self._heard[key] = job.heard
        job.spoilt = True
        if self._may_try(job, what):
            self._tries[key, what] += 1
            self.give_back(job)
        else:
            self._fail(job, "failed", reason)

    def _seconds(self, job: Job) -> float:
        """What the cell took so far, all its attempts together."""
        return self._spent.get(job.cell.key, 0.0) + (job.seconds if job.running else 0.0)

    def _fail(self, job: Job, status: Literal["timeout", "failed"], reason: str) -> None:
        """Write the record of a cell that no worker ended, with the most rounds that any attempt told of."""
        before = self._heard.get(job.cell.key, job.heard)
        heard = before if len(before.rows) > len(job.heard.rows) else job.heard
        seconds = self._seconds(job)
        self._close(job)
        self._events.append(
            record_for(job.cell, status, reason, heard, seconds=seconds, store=self.store, options=self.options)
        )

    def _close(self, job: Job, event: Event | None = None) -> None:
        job.over = True
        job.held.close()
        with suppress(ValueError):
            self._jobs.remove(job)
        if event is not None:
            self._events.append(event)
