"""What a running grid says on standard error (benchmarks room): a line that changes on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from threading import Timer
from typing import TYPE_CHECKING, Protocol

from fl_bench.errors import one_line

from ..tables.terminal import say, visible
from ..tables.values import show_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

    from rich.console import Console
    from rich.text import Text

    from ..running.executor import Event


class Reporter(Protocol):
    """Takes the events of a run, in a `with` block."""

    def __enter__(self) -> Reporter: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def take(self, event: Event) -> None: ...  # noqa: D102


def reporter(
    console: Console,
    cells: int,
    left: Callable[[], float | None] = lambda: None,
    *,
    verbose: bool = False,
    log: Path | None = None,
) -> Reporter:
    """One line that changes when `console` is a terminal, a line per finished cell otherwise.

    Args:
        console: where to.
        cells: how many there are.
        left: seconds until all have run; None where that is not known.
        verbose: whether rounds have a line each, too.
        log: a file that the lines are also added to.
    """
    shown: Reporter
    if console.is_terminal:
        shown = StatusLine(console, cells, left, verbose=verbose)
    else:
        shown = Lines(
            partial(console.print, markup=False, highlight=False, soft_wrap=True), cells, left, verbose=verbose
        )
    return shown if log is None else Both(shown, Lines(Log(log).write, cells, left, verbose=verbose))


class Lines:
    """A line per finished cell, and per round where that is asked for.

    Args:
        write: takes a line.
        cells: how many there are.
        left: seconds until all have run.
        verbose: whether rounds have lines.
    """

    def __init__(
        self, write: Callable[[str], None], cells: int, left: Callable[[], float | None], *, verbose: bool = False
    ) -> None:
        self._write = write
        self._cells = cells
        self._left = left
        self._verbose = verbose
        self._ended = 0

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""

    def take(self, event: Event) -> None:
        """Write a line when a cell has ended."""
        if event.kind in ("ended", "skipped"):
            self._ended += 1
            rest = time_left(self._left()) if self._ended < self._cells else ""
            self._write(f"[{self._ended}/{self._cells}] {ending(event)}{rest and f'; {rest}'}")
        elif event.kind == "waiting":
            self._write(ending(event))
        elif event.kind == "said":
            self._write(event.reason)
        elif event.kind == "round" and self._verbose:
            self._write(" · ".join(now(event)))


class StatusLine:
    """One line at the bottom of a terminal: runs done, time left, what runs now and its accuracy; bad ends above it."""

    def __init__(
        self, console: Console, cells: int, left: Callable[[], float | None], *, verbose: bool = False
    ) -> None:
        from rich.live import Live

        self._console = console
        self._cells = cells
        self._left = left
        self._verbose = verbose
        self._ended = 0
        self._running: dict[str, Event] = {}
        self._until: float | None = None
        self._live = Live(console=console, transient=True, get_renderable=self._line, refresh_per_second=4)

    def __enter__(self) -> StatusLine:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the line away."""
        self._live.stop()

    def take(self, event: Event) -> None:
        """Change the line, and print what ended badly."""
        if event.kind == "said":
            self._print(event.reason)
            return
        self._running.pop(event.cell.key, None)
        if event.kind in ("started", "round"):
            self._running[event.cell.key] = event  # the last is the newest
        elif event.kind != "waiting":
            self._ended += 1
        left = self._left()  # here: it may not be asked by the thread that draws the line
        self._until = None if left is None else time.monotonic() + left
        if event.kind in ("skipped", "waiting") or (event.ending and event.ending.status != "done"):
            self._print(ending(event))
        elif event.kind == "round" and self._verbose:
            self._print(" · ".join(now(event)))

    def _line(self) -> Text:
        from rich.text import Text

        running = list(self._running.values())
        parts = [f"runs {self._ended}/{self._cells}"]
        if self._until is not None and self._ended < self._cells:
            parts.append(f"ETA {clock(self._until - time.monotonic())}")
        parts += now(running[-1]) if running else []
        parts += [f"+{len(running) - 1} more"] if len(running) > 1 else []
        return Text(visible(" · ".join(parts)), no_wrap=True, overflow="ellipsis")

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False)


class Both:
    """Two reporters, the second of which keeps what the first shows."""

    def __init__(self, shown: Reporter, kept: Reporter) -> None:
        self.shown = shown
        self._kept = kept

    def __enter__(self) -> Both:
        self.shown.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the first; the second has nothing open."""
        self.shown.__exit__(kind, error, trace)

    def take(self, event: Event) -> None:
        """Hand the event to both."""
        self._kept.take(event)
        self.shown.take(event)


class Log:
    """A file that lines are added to, each with the time; a disk that does not take them keeps no run from going on."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, line: str) -> None:
        """Add a line."""
        stamp = datetime.now(UTC).isoformat(timespec="seconds")
        with suppress(OSError), self._path.open("a", encoding="utf-8") as file:
            file.write(f"{stamp} {one_line(line)}\n")


@contextmanager
def saying(what: str, after: float = 2.0) -> Iterator[None]:
    """Say on standard error what a command is doing, should the block take longer than `after` seconds."""
    timer = Timer(after, say, (f"{what} ...",))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def now(event: Event) -> list[str]:
    """What runs, how far it is, and its accuracy."""
    cell = event.cell
    name = f"{cell.dataset.name} {cell.label} seed {cell.repetition}"
    if event.kind == "started":
        return [name]
    accuracy = [] if event.accuracy is None else [f"{event.accuracy:.1f} %"]
    return [f"{name}, round {event.round + 1}/{cell.training.rounds}", *accuracy]


def clock(seconds: float) -> str:
    """A duration as a clock shows it, `0:41` or `1:02:03`; never below 0."""
    minutes, rest = divmod(max(round(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def time_left(seconds: float | None) -> str:
    """About how long a grid will take yet, in words; nothing where that is not known."""
    return "" if seconds is None else f"about {show_seconds(seconds)} left"


def ending(event: Event) -> str:
    """How a cell ended, in a line."""
    name = f"{event.cell.dataset.name} {event.cell.label} seed {event.cell.repetition}"
    if event.ending is None:
        return f"{name}: {'waiting' if event.kind == 'waiting' else 'skipped'}, {event.reason}"
    reason = f" ({event.ending.reason})" if event.ending.reason else ""
    return f"{name}: {event.ending.status}{reason}, {event.reason or show_seconds(event.seconds)}"
