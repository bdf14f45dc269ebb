"""The local executor (benchmarks room): spawned worker processes that run cells; never forks, imports no torch.

Each worker has a pipe of its own, so that killing one worker (a timeout, the kernel's memory killer) cannot leave
a shared queue locked for the others.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import sys
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fl_bench.errors import ConfigError, one_line
from fl_bench.limits import JOBS

from ..grid.cell import Cell
from ..grid.plugins import load_plugins
from ..records.lease import Held
from ..records.record import RecordError
from ..records.store import Store
from .executor import ELSEWHERE, Event
from .parent import end_with_parent
from .provenance import available_cores, provenance
from .reporting import accuracy_of, gpu_memory
from .runner import run_cell
from .unfinished import Heard, death, packed, record_for

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from ...federation.rows import RoundRow
    from .runner import Options

START_LIMIT = 1800.0
"""Seconds after which a worker that has not begun with its cell counts as stuck. Its start (imports, plugins, the first
use of a GPU, loading data) takes seconds, and minutes from a slow disk; it never counts against the time limit of a
cell."""

GLANCE = 1.0
"""Seconds after which workers are looked at even if none has anything to say: what a method started may outlive its
worker and hold the worker's end of the pipe open, so that nothing is heard of the death."""

FILLED = 0.9
"""Share of a GPU's free memory that further jobs may be started for."""

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Variables that numeric libraries read when they are loaded."""

WORKER = {
    # One thread each: two that wait for each other beside a busy neighbour take many times as long.
    **dict.fromkeys(THREADS, "1"),
    # glibc: keep freed memory, instead of handing it back and paying for its pages anew in every training step.
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
}
"""Variables that workers start with."""


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    device: str
    cell: Cell | None = None
    began: float = 0.0
    running: bool = field(default=False)
    """Whether the worker has begun with the cell. Until then `began` is when it was given the cell."""
    closed: bool = field(default=False)
    """Whether the worker's end of the pipe is gone, and the worker with it."""
    heard: Heard = field(default_factory=Heard)
    memory: tuple[int, int] | None = None
    """On a GPU: the most bytes that it has taken so far, and those that were free after its last round."""
    last: Cell | None = None
    """The cell that it ran last."""
    changed: bool = False
    """Whether that has changed the process."""

    def fresh_enough(self, cell: Cell) -> bool:
        """Whether it may run a cell: not where code of others was at work that has no part in it.

        A plugin, or a method that changed what a process has for all, may leave behind what nobody can find and put
        back; runs of the same method are then for the same process, and others are not.
        """
        if self.last is None or not (self.changed or self.last.plugins()):
            return True
        return self.last.plugins() == cell.plugins() and (self.last.method == cell.method or not self.changed)


def choose_devices(device: str, jobs: int | None) -> list[str]:
    """The device of each job to start with.

    On a CPU, one job per available core. On GPUs (`auto` takes them when there are any), one each, to which `run_cells`
    adds more when it has seen how much memory they take; or `jobs`, dealt out in turn.

    Args:
        device: `auto`, `cpu`, `cuda`, `cuda:<n>`, or `mps` for the GPU of a Mac, which has one job by default.
        jobs: how many jobs; chosen by the rule above when None.
    Raises:
        ConfigError: there is no such device.
    """
    cores = available_cores()
    if jobs is not None and not 1 <= jobs <= JOBS:
        raise ConfigError(f"--jobs must be from 1 to {JOBS}, got {jobs}")
    if device == "auto" and not (Path("/dev/nvidiactl").exists() or Path("/dev/kfd").exists()):
        device = "cpu"  # no driver: spare everybody the wait for torch
    if device == "cpu":
        return ["cpu"] * (jobs or cores)
    kind, colon, number = device.partition(":")
    if kind not in ("auto", "cuda", "mps") or (colon and (kind != "cuda" or not re.fullmatch(r"[0-9]{1,3}", number))):
        raise ConfigError(f"--device must be auto, cpu, cuda, cuda:<number> or mps, got {device!r}")
    import torch  # a GPU may be there: worth the seconds

    if kind == "mps":
        if not torch.backends.mps.is_available():
            raise ConfigError("--device mps: torch sees no GPU of a Mac here; --device cpu always works")
        return ["mps"] * (jobs or 1)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0 and device == "auto":
        return ["cpu"] * (jobs or cores)
    chosen = [int(number)] if number else list(range(count))
    if not chosen or max(chosen) >= count:
        raise ConfigError(f"--device {device}: torch sees {count} CUDA devices here; --device cpu always works")
    return [f"cuda:{chosen[job % len(chosen)]}" for job in range(jobs or len(chosen))]


def run_cells(
    cells: Sequence[Cell],
    store: Store,
    options: Options,
    *,
    devices: Sequence[str],
    most: int = 0,
    timeout: float | None = None,
) -> Generator[Event, None, None]:
    """Run cells in worker processes and say what happens; every cell that ends leaves a record.

    Closing the iterator, or an exception in it, stops the workers; what they were doing continues from its
    checkpoints the next time.

    Args:
        cells: what to run, in this order.
        store: where records go.
        options: how to run them; `device` is replaced by the worker's own. Where it does not say how many threads a
            run has, the cores are shared out among the workers.
        devices: the device of each worker; no more workers are started than there are cells.
        most: workers may be added on GPUs, by the memory that those there were seen to take, up to so many in all.
        timeout: seconds that a cell may take; a cell that takes longer is recorded as `timeout`. They count from when
            the worker has loaded its libraries and the data; one that has not done so within `START_LIMIT` is replaced,
            and its cell recorded as `failed`.
    Raises:
        RecordError: a record cannot be written.
        ConfigError: a worker cannot start.
    """
    queue = deque(cells)
    workers: list[_Worker] = []
    devices = devices[: len(queue)]
    options = shared_out(options, len(devices))
    try:
        for device in devices:
            workers.append(_start(store, options, device))
        while queue or any(worker.cell for worker in workers):
            for place, worker in enumerate(workers):
                if worker.cell is None and queue:
                    if not worker.fresh_enough(queue[0]):
                        _stop([worker])
                        worker = workers[place] = _start(store, options, worker.device)
                    worker.cell = queue.popleft()
                    worker.began, worker.running, worker.heard = time.monotonic(), False, Heard()
                    try:
                        worker.pipe.send(worker.cell.to_worker())
                    except OSError:  # it died while it had nothing to do
                        worker.closed = True
            yield from _wait(workers, store, options, timeout)
            for device in further_devices(
                [(worker.device, worker.memory) for worker in workers], min(len(queue), most - len(workers))
            ):
                workers.append(_start(store, options, device))
    finally:
        _stop(workers)


def shared_out(options: Options, workers: int) -> Options:
    """Options with the cores shared out among workers, where they do not say how many threads a run has."""
    if options.execution.threads is not None:
        return options
    threads = max(1, available_cores() // max(1, workers))
    return replace(options, execution=replace(options.execution, threads=threads))


def further_devices(workers: Sequence[tuple[str, tuple[int, int] | None]], most: int) -> list[str]:
    """Devices of workers to add: as many on each GPU as its free memory has room for, going by those that are there.

    Args:
        workers: device of each worker, with its largest number of bytes so far and those then free; None before it has
            finished a round, and then nothing is known of its GPU.
        most: how many may be added.
    """
    added: list[str] = []
    for device in dict.fromkeys(device for device, _ in workers if device.startswith("cuda")):
        seen = [memory for name, memory in workers if name == device]
        known = [memory for memory in seen if memory is not None]
        if len(known) == len(seen):
            room = int(FILLED * min(free for _, free in known)) // max(peak for peak, _ in known)
            added += [device] * min(room, most - len(added))
    return added


def _wait(workers: list[_Worker], store: Store, options: Options, timeout: float | None) -> Iterator[Event]:
    """Wait for the next messages, deaths and time limits, and deal with them."""
    busy = [worker for worker in workers if worker.cell is not None]
    limits = [limit - time.monotonic() for worker in busy if (limit := _limit(worker, timeout)) is not None]
    ready = wait(
        [place for worker in busy for place in (worker.pipe, worker.process.sentinel)],
        timeout=max(0.0, min([GLANCE, *limits])),
    )
    for worker in busy:
        if worker.pipe in ready:
            yield from _hear(worker)
        if worker.cell is None:
            continue
        limit = _limit(worker, timeout)
        late = limit is not None and time.monotonic() >= limit
        # A closed pipe polls as full, for ever; and pipe and process may be seen to end in either order.
        dead = worker.closed or (worker.process.exitcode is not None and not worker.pipe.poll())
        if late or dead:
            cell, running = worker.cell, worker.running
            seconds = time.monotonic() - worker.began
            if dead:
                worker.process.join(timeout=2)  # for the exit code, if its pipe was seen to end first
            _end(worker)
            if os.name == "posix":  # the end of a message that it was sending may never come
                os.set_blocking(worker.pipe.fileno(), False)
            yield from _hear(worker)  # what it said before
            worker.pipe.close()
            if worker.cell is not None:
                if not late:
                    reason = death(worker.process.exitcode)
                elif running:
                    reason = f"ran longer than the time limit of {timeout:g} s"
                else:
                    reason = f"the worker process had not loaded its libraries and the data after {START_LIMIT:g} s"
                status: Literal["timeout", "failed"] = "timeout" if late and running else "failed"
                yield record_for(cell, status, reason, worker.heard, seconds=seconds, store=store, options=options)
            workers[workers.index(worker)] = _start(store, options, worker.device)


def _limit(worker: _Worker, timeout: float | None) -> float | None:
    """When the worker is late, by the monotonic clock; None for never."""
    seconds = timeout if worker.running else START_LIMIT
    return None if seconds is None else worker.began + seconds


def _hear(worker: _Worker) -> Iterator[Event]:
    """Take what a worker has to say."""
    cell = worker.cell
    assert cell is not None
    while worker.pipe.poll():
        try:
            kind, *rest = worker.pipe.recv()
        except (EOFError, OSError):  # it died
            worker.closed = True
            return
        seconds = time.monotonic() - worker.began
        if kind == "started":
            worker.began, worker.running = time.monotonic(), True
            worker.heard.provenance = rest[0]
            yield Event("started", cell)
        elif kind == "round":
            index, accuracy, worker.memory, worker.heard.facts, row = rest
            worker.heard.rows.append(row)
            yield Event("round", cell, round=index, accuracy=accuracy, seconds=seconds)
        elif kind == "ended":
            worker.cell, worker.last, worker.changed = None, cell, bool(rest[0].changed)
            where = ELSEWHERE if rest[0].elsewhere else ""
            yield Event("ended", cell, ending=rest[0], seconds=seconds, reason=where)
            return
        elif kind == "held":
            worker.cell = None
            yield Event("skipped", cell, reason=rest[0])
            return
        else:
            raise RecordError(rest[0]) if kind == "unwritable" else ConfigError(rest[0])


def _start(store: Store, options: Options, device: str) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_work, args=(theirs, str(store.results.absolute()), replace(options, device=device)), daemon=True
    )
    with _environment(WORKER):
        process.start()
    theirs.close()
    return _Worker(process, ours, device)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Processes started inside have these variables."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _end(worker: _Worker) -> None:
    worker.process.kill()
    worker.process.join()


def _stop(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        for _ in range(40):  # a join sees no end either while something else holds what the worker held
            if worker.process.exitcode is not None:
                break
            worker.process.join(timeout=0.05)
        _end(worker)
        worker.pipe.close()


def _work(pipe: Connection, results: str, options: Options) -> None:
    """A worker's life: cells in, messages out, until the pipe or the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which stops us
    os.dup2(2, 1)  # what plugins print is no result: it goes where messages go
    sys.stdout = sys.stderr
    end_with_parent()
    store, own = Store(Path(results)), os.getpid()

    def tell(*message: Any) -> None:
        if os.getpid() != own:  # a copy of us that a method made, and let go on
            os._exit(1)
        try:
            pipe.send(message)
        except OSError:  # the parent is gone, which is no failure of the method
            os._exit(1)

    def started() -> None:
        tell("started", provenance(options.device))

    def report(row: RoundRow, facts: Mapping[str, Any]) -> None:
        tell("round", row.values["round"], accuracy_of(row), gpu_memory(options.device), facts, packed(row))

    try:
        load_plugins(options.plugins)
        import torch  # noqa: F401 - where it cannot be imported, no cell is to blame
    except Exception as error:
        tell("broken", f"a worker process cannot start: {one_line(error)}")
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # again: plugins may have set another
    while True:
        try:
            cell = Cell.from_worker(pipe.recv())
        except EOFError:
            return
        try:
            ending = run_cell(cell, store, options, report, started)
        except Held as error:
            tell("held", str(error))
        except RecordError as error:
            tell("unwritable", str(error))
        else:
            tell("ended", ending)
