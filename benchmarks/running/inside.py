"""Cells in this very process, one after the other (benchmarks room): for methods that only this process knows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..records.lease import Held
from .executor import ELSEWHERE, Event
from .reporting import accuracy_of
from .runner import run_cell

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from ...federation.rows import RoundRow
    from ..grid.cell import Cell
    from ..records.store import Store
    from .runner import Options


def run_inside(cells: Sequence[Cell], store: Store, options: Options, hear: Callable[[Event], None]) -> None:
    """Run cells here; each leaves a record, or is skipped where another process has it.

    Nothing can end a run that hangs here, and a crash of the interpreter ends the grid; the finished rounds of the run
    stay, and the same call goes on after them.

    Args:
        cells: what to run, in this order.
        store: where records go.
        options: how to run them.
        hear: is told what happens to them.
    Raises:
        RecordError: a record cannot be written.
    """
    for cell in cells:
        began = time.monotonic()
        hear(Event("started", cell))

        def told(row: RoundRow, _: Mapping[str, Any], cell: Cell = cell, began: float = began) -> None:
            seconds = time.monotonic() - began
            hear(Event("round", cell, round=int(row.values["round"] or 0), accuracy=accuracy_of(row), seconds=seconds))

        try:
            ending = run_cell(cell, store, options, told)
        except Held as error:
            hear(Event("skipped", cell, reason=str(error), seconds=time.monotonic() - began))
            continue
        where = ELSEWHERE if ending.elsewhere else ""
        hear(Event("ended", cell, ending=ending, reason=where, seconds=time.monotonic() - began))
