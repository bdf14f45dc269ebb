"""Progress of a run, in a pipe and at a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_bench.benchmarks.commands.progress import Bars, Lines, reporter
from fl_bench.benchmarks.running.executor import Event
from fl_bench.benchmarks.running.runner import Ending

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.store import Store


def test_lines_where_there_is_no_terminal_and_bars_where_there_is(
    store: Store,
    cell_of: Callable[..., Cell],
    screen: Callable[..., Console],
    text: Callable[[Console], str],
) -> None:
    cell = cell_of()
    done = Event("ended", cell, ending=Ending("done", None, store.runs), seconds=3.0)
    failed = Event("ended", cell, ending=Ending("failed", "ValueError: x", store.runs), seconds=3.0)
    waiting = Event("waiting", cell, reason="taken")
    said = Event("said", cell, reason="2 tasks wait")
    elsewhere = Event("ended", cell, ending=done.ending, reason="by another process")
    plain = screen()
    with reporter(plain, 3) as report:
        assert isinstance(report, Lines)
        skipped = Event("skipped", cell, reason="taken")
        for event in (Event("started", cell), Event("round", cell), done, waiting, said, skipped, elsewhere):
            report.take(event)
    assert text(plain).splitlines() == [
        "[1/3] digits local seed 0: done, 3.0 s",
        "digits local seed 0: waiting, taken",
        "2 tasks wait",
        "[2/3] digits local seed 0: skipped, taken",
        "[3/3] digits local seed 0: done, by another process",
    ]
    fancy = screen(terminal=True)
    with reporter(fancy, 2) as report:
        assert isinstance(report, Bars)
        for event in (Event("started", cell), Event("round", cell, round=1, accuracy=51.26), waiting, said, failed):
            report.take(event)
    assert "failed (ValueError: x)" in text(fancy)
    assert "waiting, taken" in text(fancy)
    assert "2 tasks wait" in text(fancy)
