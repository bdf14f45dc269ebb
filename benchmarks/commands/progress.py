"""What a running grid says on standard error (benchmarks room): bars on a terminal, lines elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ..tables.values import show_seconds

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from rich.console import Console
    from rich.progress import Progress, TaskID

    from ..running.executor import Event


class Reporter(Protocol):
    """Takes the events of a run, in a `with` block."""

    def __enter__(self) -> Reporter: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def take(self, event: Event) -> None: ...  # noqa: D102


def reporter(console: Console, cells: int, left: Callable[[], float | None] = lambda: None) -> Reporter:
    """Bars when `console` is a terminal, one line per finished cell otherwise.

    Args:
        console: where to.
        cells: how many there are.
        left: seconds until all have run; None where that is not known.
    """
    return Bars(console, cells, left) if console.is_terminal else Lines(console, cells, left)


class Lines:
    """A line per finished cell."""

    def __init__(self, console: Console, cells: int, left: Callable[[], float | None]) -> None:
        self._console = console
        self._cells = cells
        self._left = left
        self._ended = 0

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""

    def take(self, event: Event) -> None:
        """Print a line when a cell has ended."""
        if event.kind in ("ended", "skipped"):
            self._ended += 1
            rest = time_left(self._left()) if self._ended < self._cells else ""
            line = f"[{self._ended}/{self._cells}] {ending(event)}{rest and f'; {rest}'}"
            self._console.print(line, markup=False, highlight=False)
        elif event.kind == "waiting":
            self._console.print(ending(event), markup=False, highlight=False)
        elif event.kind == "said":
            self._console.print(event.reason, markup=False, highlight=False)


class Bars:
    """A bar for the grid and one for every cell that runs, with round and accuracy."""

    def __init__(self, console: Console, cells: int, left: Callable[[], float | None]) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._console = console
        self._progress: Progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
            transient=True,
        )
        self._all: TaskID = self._progress.add_task("all runs", total=cells, note="")
        self._tasks: dict[str, TaskID] = {}
        self._left = left

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bars away."""
        self._progress.stop()

    def take(self, event: Event) -> None:
        """Move the bars."""
        cell = event.cell
        if event.kind == "said":
            self._console.print(event.reason, markup=False, highlight=False)
        elif event.kind == "started":
            self._tasks[cell.key] = self._progress.add_task(
                f"{cell.dataset.name} {cell.label} seed {cell.repetition}", total=cell.training.rounds, note=""
            )
        elif event.kind == "round":
            note = "" if event.accuracy is None else f"{event.accuracy:.1f} %"
            self._progress.update(self._tasks[cell.key], completed=event.round + 1, note=note)
        else:
            if cell.key in self._tasks:
                self._progress.remove_task(self._tasks.pop(cell.key))
            if event.kind != "waiting":
                self._progress.advance(self._all)
            self._progress.update(self._all, note=time_left(self._left()))
            if event.kind in ("skipped", "waiting") or (event.ending and event.ending.status != "done"):
                self._console.print(ending(event), markup=False, highlight=False)


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
