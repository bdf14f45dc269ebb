"""Waiting for cells that other processes hold (benchmarks room): they end, or what they leave undone is run here."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from .executor import ELSEWHERE, Event
from .runner import finished

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from ..grid.cell import Cell
    from ..records.store import Store
    from .runner import Options

PAUSE = 2.0
"""Seconds between two looks at the cells that others hold."""


def until_ended(
    run: Callable[[Sequence[Cell], Store, Options], Generator[Event, None, None]],
    cells: Sequence[Cell],
    store: Store,
    options: Options,
) -> Generator[Event, None, None]:
    """Run cells until each has ended: one that another process holds is `waiting` where `run` says `skipped`.

    It is looked at every few seconds. When its record is there it has ended; when nobody holds it any more, it is run.

    Args:
        run: runs cells and says what happens to them, as an executor does.
        cells: what to run.
        store: where records go.
        options: how to run them.
    Raises:
        RecordError: a record cannot be written.
        ConfigError: what runs the cells cannot start.
    """
    held: list[Cell] = []
    free = list(cells)
    while free:
        with closing(run(free, store, options)) as events:
            for event in events:
                if event.kind == "skipped":
                    held.append(event.cell)
                    event = replace(event, kind="waiting")
                yield event
        free = []
        while held and not free:
            for cell in list(held):
                holder = store.holder(cell)  # before the record, which is written while the cell is held
                ending = finished(cell, store, retry=options.retry)
                if ending is not None:
                    yield Event("ended", cell, ending=ending, reason=ELSEWHERE)
                elif holder is None:
                    free.append(cell)
                else:
                    continue
                held.remove(cell)
            if held and not free:
                time.sleep(PAUSE)
