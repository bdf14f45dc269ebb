"""A task of a job array (benchmarks room): takes cell after cell until none is free, or its time is over.

It runs on a node that shares the results folder, attends workers of the worker protocol there, and says in a file what
happens (`array.py`). What submitit pickles of it is a path, a number and the name of the class.
"""

from __future__ import annotations

import platform
import signal
import tempfile
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fl_bench.errors import FLBenchError

from ..grid.plugins import load_plugins
from ..records.record import RecordError
from ..records.store import Store
from .array import Array, Said, Watch
from .attending import attend
from .handshake import Mixture, mismatch, versions, versions_of
from .local import choose_devices
from .order import read_cell, read_order
from .remote import Remote
from .runner import finished

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..grid.cell import Cell
    from .executor import Event
    from .runner import Ending

NEAR = "its time limit is near, or it was preempted"
"""Why a task stopped that is requeued."""


class Told(BaseException):
    """The task was asked to end."""


class Pull:
    """What a task does; submitit calls it, and `checkpoint` when the time limit is near.

    Args:
        folder: the array's.
        workers: cells at a time.
    """

    near = False
    """Whether it is about to be requeued."""

    def __init__(self, folder: str, workers: int) -> None:
        self.folder = folder
        self.workers = workers

    def __call__(self) -> None:
        """Take cells until none is free.

        Raises:
            FLBenchError: this node would give other numbers, or cannot work; the log says so, too.
        """
        from submitit import JobEnvironment

        array = Array(Path(self.folder))
        say = array.speaker(JobEnvironment().job_id)
        signal.signal(signal.SIGTERM, _told)
        say(Said("began", reason=platform.node()))
        try:
            with tempfile.TemporaryDirectory(prefix="fl-bench-", ignore_cleanup_errors=True) as scratch:
                self._pull(array, Path(scratch), say)
        except FLBenchError as error:
            with suppress(OSError):  # the disk may be full
                say(Said("full" if isinstance(error, RecordError) else "broken", reason=str(error)))
            raise
        except BaseException as error:
            with suppress(OSError):
                why = NEAR if self.near else "it was asked to end" if isinstance(error, Told) else repr(error)
                say(Said("stopped", reason=why))
            if isinstance(error, Told):
                raise SystemExit(1) from None
            raise
        say(Said("left"))

    def checkpoint(self) -> Any:
        """What the task does once it is requeued: the same, for cells know where they were."""
        from submitit.helpers import DelayedSubmission

        self.near = True
        return DelayedSubmission(type(self)(self.folder, self.workers))

    def _pull(self, array: Array, scratch: Path, say: Callable[[Said], None]) -> None:
        order = read_order(array.order.read_bytes())
        # Its worker compares everything; versions come first, for plugins and cells of another may mean anything.
        reasons = mismatch(versions_of(order.setup), versions())
        if reasons:
            raise Mixture(platform.node(), reasons)
        paths = tuple(plugin.write(scratch) for plugin in order.plugins)
        load_plugins(paths)
        cells, options = list(map(read_cell, order.cells)), replace(order.options, plugins=paths)
        assert order.results is not None
        store, watch, elsewhere = Store(Path(order.results)), Watch(array), set[str]()

        def ended(cell: Cell) -> Ending | None:
            """How a cell ended, in another task or before."""
            watch.news()
            # What failed in this array is not tried again by its next task.
            ending = finished(cell, store, retry=options.retry and cell.key not in watch.ended)
            if ending is not None:
                elsewhere.add(cell.key)
            return ending

        remote = Remote(
            cells,
            store,
            options,
            expected=order.setup,
            timeout=order.timeout,
            shared=True,
            ended=ended,
            spent=lambda cell: watch.spent(cell.key),
        )
        devices = choose_devices(options.device, self.workers)[: len(cells)]
        with closing(attend(remote, devices)) as events:
            for event in events:
                if event.cell.key not in elsewhere and event.kind in ("started", "round", "ended"):
                    say(_said(event))


def _said(event: Event) -> Said:
    accuracy = None if event.accuracy is None else float(event.accuracy)
    return Said(event.kind, event.cell.key, event.round, accuracy, event.seconds)  # type: ignore[arg-type]


def _told(*_: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
    raise Told
