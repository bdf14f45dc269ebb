"""Runs under the eyes of a command (benchmarks room): data that have to be there, progress, and what stops them."""

from __future__ import annotations

import signal
from contextlib import closing
from typing import TYPE_CHECKING, Any, NoReturn

from ..tables.terminal import make_console, say
from .options import FAILED, STOPPED

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from ..grid.cell import Cell
    from ..running.executor import Event
    from ..running.schedule import Schedule

LOG = "run.log"
"""What happened to the cells of a results folder, with times."""

STOPS = (signal.SIGINT, signal.SIGTERM)
"""What stops a grid: Ctrl-C, and what batch systems send."""


def run_all(
    schedule: Schedule, running: Generator[Event, None, None], results: Path, *, verbose: bool = False
) -> tuple[int, list[Cell]]:
    """Report what happens to the cells until they are run, on standard error and in `run.log` of the results folder.

    Args:
        schedule: the cells.
        running: what runs them.
        results: the results folder.
        verbose: whether every round has a line.
    Returns:
        The exit code, 0 unless stopped, or a record cannot be written, or what runs the cells is gone; and the cells
        left to other processes.
    """
    from ..records.record import RecordError
    from ..running.executor import ExecutorLost
    from .progress import reporter

    skipped: list[Cell] = []
    # A background job of a shell ignores Ctrl-C, and goes on doing so.
    heard = [number for number in STOPS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _interrupt) for number in heard}
    console, log = make_console(stderr=True), results / LOG
    try:
        with (
            reporter(console, len(schedule.cells), schedule.left, verbose=verbose, log=log) as report,
            closing(running) as events,
        ):
            for event in events:
                schedule.take(event)
                report.take(event)
                if event.kind == "skipped":
                    skipped.append(event.cell)
    except (RecordError, ExecutorLost) as error:
        say(f"error: {error}\nwhat was running is kept; run the same command again to continue")
        return FAILED, skipped
    except KeyboardInterrupt as error:
        say(str(error) or "stopped; run the same command again to continue")
        return STOPPED, skipped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0, skipped


def fetch(cells: Sequence[Cell], data_dir: Path | None, *, download: bool) -> None:
    """Make sure that all data are there before the first run starts."""
    from ...datasets.catalogue import available, load_dataset

    chosen = [choice for cell in cells for choice in (cell.dataset, cell.foreign) if choice is not None]
    for location in dict.fromkeys(choice.location for choice in chosen):
        if not available(location, data_dir=data_dir)[0]:
            load_dataset(location, data_dir=data_dir, download=download)  # downloads, or says what is missing


def _interrupt(*_: Any) -> NoReturn:
    """Stop; who asks again while workers are being stopped does not keep them from it."""
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
