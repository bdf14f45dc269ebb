"""Runs told to trackers while they run (benchmarks room): by the process that drives them, from what executors say."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from fl_bench.errors import one_line

from ..grid.brackets import bracketed, name_and_brackets
from ..grid.configure import blame
from ..tables.terminal import say
from .trackers import ACCURACY, Tracked, configured, parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from ..grid.cell import Cell
    from ..running.executor import Event
    from .trackers import Following, Tracker


def read_tracker(text: str) -> Tracker:
    """The tracker that `--tracker` asks for, configured.

    Args:
        text: a name (`tensorboard`), or a name with settings (`tensorboard[folder=logs]`).
    Raises:
        ConfigError: a malformed text, an unknown tracker or setting, or an impossible value.
    """
    with blame(f"--tracker {text}"):
        name, inside = name_and_brackets(text, "a tracker")
        return configured(name, {} if inside is None else bracketed(inside, text))


def followed(running: Generator[Event, None, None], trackers: Sequence[Tracker]) -> Generator[Event, None, None]:
    """The events of an executor, each told to the trackers before it is passed on; closing it closes both."""
    lives = [Live(tracker) for tracker in trackers]
    try:
        with closing(running) as events:
            for event in events:
                for live in lives:
                    live.take(event)
                yield event
    finally:
        for live in lives:
            live.close()


class Live:
    """A tracker that hears of runs: `accuracy` and `seconds` of each round. One that raises is told no more.

    Args:
        tracker: whom to tell.
    """

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._following: dict[str, Following] = {}
        self._silent = False

    def take(self, event: Event) -> None:
        """Tell of what happened to a run."""
        if event.kind == "started":
            self._follow(event.cell)
        elif event.kind == "round":
            numbers = {ACCURACY: event.accuracy, "seconds": event.seconds}
            values = {name: float(value) for name, value in numbers.items() if value is not None}
            following = self._follow(event.cell)
            if following is not None:
                self._tell(lambda: following.metrics(event.round, values, time.time()))
        elif event.kind in ("ended", "skipped"):
            self._end(event.cell.folder, event.kind if event.ending is None else event.ending.status)

    def close(self) -> None:
        """Say of the runs that have not ended that they were stopped."""
        for name in list(self._following):
            self._end(name, "stopped")

    def _follow(self, cell: Cell) -> Following | None:
        """What follows a run; one that is started anew, or goes on, is followed as before."""
        if cell.folder not in self._following:
            run = Tracked(cell.folder, cell.dataset.name, parameters(cell.as_dict(), cell.label), time.time())
            following = self._tell(lambda: self._tracker.start(run))
            if following is not None:
                self._following[cell.folder] = following
        return self._following.get(cell.folder)

    def _end(self, name: str, status: str) -> None:
        following = self._following.pop(name, None)
        if following is not None:
            self._tell(lambda: following.end(status, time.time()))

    def _tell(self, call: Callable[[], Any]) -> Any:
        """Call a tracker; whatever it raises costs a line, and no run."""
        if self._silent:
            return None
        try:
            return call()
        except Exception as error:
            self._silent = True
            what = one_line(f"{type(error).__name__}: {error}")
            say(f"the tracker {type(self._tracker).__name__} failed and is told no more; runs go on ({what})")
            return None
