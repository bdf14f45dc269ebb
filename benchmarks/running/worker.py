"""The worker of remote executors (benchmarks room): orders in, messages out, a cell at a time by the same `run_cell`.

    python -m fl_bench.benchmarks.running.worker --scratch FOLDER [--follow] [ORDER.json]

reads orders from a file, or from standard input until it ends, and writes messages to standard output, which nothing
else can reach: what plugins and libraries print goes to standard error. `child.Child` starts it and talks to it.
"""

from __future__ import annotations

import argparse
import os
import queue
import signal
import sys
import tempfile
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from fl_bench.errors import FLBenchError

from ...federation.journal import beside
from ..grid.plugins import load_plugins
from ..records.lease import Held, release_all
from ..records.record import RecordError
from ..records.store import Store
from .handshake import mismatch, setup
from .order import read_cell, read_order
from .protocol import (
    Broken,
    Ended,
    Finished,
    Hello,
    Late,
    Recorded,
    Refused,
    Skipped,
    Started,
    message_line,
    parts_of,
)
from .provenance import provenance
from .reporting import accuracy_of, gpu_capacity, gpu_memory
from .runner import run_cell
from .shares import hold_to
from .unfinished import TOLD
from .wire import MOST_LINE, decoded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ...federation.rows import RoundRow
    from ..grid.cell import Cell
    from .order import Order
    from .protocol import Message
    from .runner import Options

LATE = 124
"""Exit code of a worker whose cell reached its time limit."""


def serve(line: bytes, emit: Callable[[Message], None], scratch: Path, more: Callable[[], bool] = lambda: True) -> None:
    """Do what an order says.

    Args:
        line: the order.
        emit: where messages go; it is called from two threads, one at a time.
        scratch: a folder of this worker's own, for plugins and for records until they are sent.
        more: asked before each cell whether another one may begin.
    """
    try:
        order = read_order(line)
        prepared = prepare(order, emit, scratch)
        if order.gpu_share is not None:
            hold_to(order.options.device, order.gpu_share)
    except FLBenchError as error:
        emit(Broken(str(error)))
        return
    except Exception as error:  # no cell is to blame where torch or a plugin cannot be imported
        emit(Broken(f"a worker cannot start: {type(error).__name__}: {error}"))
        return
    if prepared is None:
        return
    cells, options = prepared
    with tempfile.TemporaryDirectory(dir=scratch, ignore_cleanup_errors=True) as folder:
        store = Store(Path(order.results or folder))
        for cell in cells:
            if not more():
                return
            if not _run(cell, store, options, order, emit):
                return


def prepare(order: Order, emit: Callable[[Message], None], scratch: Path) -> tuple[list[Cell], Options] | None:
    """Say hello, and make the order's cells and options, once it is sure that numbers come out as at the driver's.

    Args:
        order: the order.
        emit: where messages go.
        scratch: where plugin files are written.
    Returns:
        The cells and the options, plugins loaded; None where this node differs, which was said.

    Raises:
        ProtocolError: a cell is none, or comes out differently.
        ConfigError: a plugin fails.
    """
    # Versions first: plugins and cells of another version may mean anything.
    here = setup({}, (), None)
    reasons = mismatch(replace(order.setup, plugins={}, data={}), here)
    if reasons:
        emit(Refused(here.node, tuple(reasons)))
        return None
    scratch.mkdir(parents=True, exist_ok=True)
    paths = tuple(plugin.write(scratch / "plugins") for plugin in order.plugins)
    load_plugins(paths)
    digests = {plugin.name: plugin.sha256 for plugin in order.plugins}
    here = setup(digests, list(order.setup.data), order.options.data_dir)
    emit(Hello(here))
    reasons = mismatch(order.setup, here)
    if reasons:
        emit(Refused(here.node, tuple(reasons)))
        return None
    return [read_cell(parcel) for parcel in order.cells], replace(order.options, plugins=paths)


def _run(cell: Cell, store: Store, options: Options, order: Order, emit: Callable[[Message], None]) -> bool:
    """Run a cell and say how it ended; whether the worker can go on."""
    shared = order.results is not None
    limit = (
        None if order.timeout is None else threading.Timer(order.timeout, _expire, (None if shared else cell.key, emit))
    )
    sender = None if shared else _Checkpoints(cell, store, order, emit)

    def started() -> None:
        emit(Started(cell.key, provenance(options.device)))
        if limit is not None:
            limit.daemon = True
            limit.start()

    def progress(row: RoundRow, facts: Mapping[str, Any]) -> None:
        number = int(row.values["round"] or 0)
        memory = gpu_memory(options.device)
        capacity, clients = gpu_capacity(options.device), tuple(row.clients)
        emit(Finished(cell.key, number, accuracy_of(row), memory, capacity, dict(facts), row.values, clients))
        if sender is not None:
            sender.send()

    try:
        run_cell(cell, store, options, progress, started)
    except Held as error:
        emit(Skipped(cell.key, str(error)))
        return True
    except RecordError as error:
        emit(Broken(str(error), storage=True))
        return False
    finally:
        if limit is not None:
            limit.cancel()
    record = store.find(cell)
    if shared or record is None:
        emit(Ended(cell.key))
    else:
        emit(Recorded.of(cell.key, record.texts()))
    return True


def _expire(key: str | None, emit: Callable[[Message], None]) -> None:
    """End the process: nothing else ends a cell that hangs. Where the cell is held by us, its end says it all."""
    if key is not None:
        emit(Late(key))
    os._exit(LATE)


class _Checkpoints:
    """Puts the checkpoint that came with the order in its place, and sends newer ones now and then."""

    def __init__(self, cell: Cell, store: Store, order: Order, emit: Callable[[Message], None]) -> None:
        self._key = cell.key
        self._newest = partial(store.checkpoint, cell)
        self._every = order.kept_every
        self._emit = emit
        start = order.checkpoints.get(cell.key)
        if start is not None:
            state, rounds = (decoded(text, "the order's checkpoint") for text in start)
            store.leave_checkpoint(cell, state, rounds)
        self._told = 0
        """Bytes of finished rounds that were sent."""
        self._sent = time.monotonic()
        self._stamp = self._written()

    def send(self) -> None:
        """Send the checkpoint, where the last one is old enough and this one is newer."""
        newest = self._newest()
        if newest is None or time.monotonic() - self._sent < self._every or self._written() == self._stamp:
            return
        self._stamp = self._written()
        with beside(newest).open("rb") as file:
            file.seek(self._told)
            rounds = file.read()
        parts = parts_of(self._key, newest.read_bytes(), rounds, self._told)
        for part in parts:
            self._emit(part)
        self._told += len(rounds) if parts else 0
        self._sent = time.monotonic()

    def _written(self) -> int | None:
        newest = self._newest()
        return None if newest is None else newest.stat().st_mtime_ns


def main() -> None:
    """Serve the orders of the command line."""
    parser = argparse.ArgumentParser(prog="python -m fl_bench.benchmarks.running.worker", description="Run cells.")
    parser.add_argument("order", nargs="?", type=Path, help="a file of orders, one a line; standard input by default")
    parser.add_argument("--scratch", type=Path, required=True, help="a folder of this worker's own")
    parser.add_argument("--follow", action="store_true", help="end at once when standard input ends")
    chosen = parser.parse_args()
    if chosen.follow:
        for name in ("SIGINT", "SIGUSR1", "SIGUSR2"):  # Ctrl-C and batch systems reach the parent too, which stops us
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_IGN)
        signal.signal(signal.SIGTERM, _leave)
    emit = _own_output()
    with sys.stdin.buffer if chosen.order is None else chosen.order.open("rb") as stream:
        for line in _following(stream) if chosen.follow else iter(lambda: stream.readline(MOST_LINE + 1), b""):
            serve(line, emit, chosen.scratch)


def _leave(*_: Any) -> None:
    """End at once, past the code of methods, which may hold on to any exception."""
    release_all()
    os._exit(TOLD)


def _own_output() -> Callable[[Message], None]:
    """Take standard output for messages, and leave standard error in its place for everybody else."""
    stream = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    turn = threading.Lock()

    def emit(message: Message) -> None:
        with turn:
            try:
                stream.write(message_line(message))
                stream.flush()
            except OSError:  # nobody listens any more
                os._exit(1)

    return emit


def _following(stream: BinaryIO) -> Iterator[bytes]:
    """Lines as they come; the process ends when the stream does, for whoever started it is gone."""
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        while line := stream.readline(MOST_LINE + 1):
            lines.put(line)
        os._exit(1)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield lines.get()


if __name__ == "__main__":
    try:
        main()
    except FLBenchError as error:
        sys.exit(f"error: {error}")
