"""Cells that other processes hold are waited for: recorded there, or run here when they are left."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from fl_bench.benchmarks.records.lease import Held
from fl_bench.benchmarks.running import waiting
from fl_bench.benchmarks.running.executor import Event
from fl_bench.benchmarks.running.runner import Ending, Options
from fl_bench.benchmarks.running.waiting import until_ended

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    import pytest

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.record import Outcome
    from fl_bench.benchmarks.records.store import Store


class Clock:
    """Takes the place of `time`: each pause is a moment at which something happens elsewhere."""

    def __init__(self, happens: Callable[[], None]) -> None:
        self._happens = happens

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self._happens()


def test_what_others_hold_is_waited_for_and_run_when_they_leave_it(
    store: Store,
    cell_of: Callable[..., Cell],
    outcome: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free, done_there, left = (cell_of(seed=seed) for seed in range(3))
    asked: list[list[Cell]] = []

    def run(cells: Sequence[Cell], store: Store, options: Options) -> Generator[Event, None, None]:
        asked.append(list(cells))
        for cell in cells:
            try:
                with store.claim(cell) as claim:
                    folder = store.write(cell, outcome({"client": [1.0]}), claim=claim)
                    claim.clear()
                yield Event("ended", cell, ending=Ending("done", None, folder), seconds=1.0)
            except Held as error:
                yield Event("skipped", cell, reason=str(error))

    with ExitStack() as there, ExitStack() as elsewhere:
        claim = there.enter_context(store.claim(done_there))
        elsewhere.enter_context(store.claim(left))

        def records() -> None:
            store.write(done_there, outcome({"client": [2.0]}), claim=claim)

        moments: Iterator[Callable[[], None]] = iter([lambda: None, records, there.close, elsewhere.close])
        monkeypatch.setattr(waiting, "time", Clock(lambda: next(moments)()))
        events = list(until_ended(run, [free, done_there, left], store, Options()))
    said = [(event.kind, event.cell, event.reason.partition(" on ")[0]) for event in events]
    who = said[1][2]
    assert who.startswith("process ")
    assert said == [
        ("ended", free, ""),
        ("waiting", done_there, who),
        ("waiting", left, who),
        ("ended", done_there, "by another process"),
        ("ended", left, ""),
    ]
    assert asked == [[free, done_there, left], [left]]
    record = store.find(done_there)
    assert record is not None
    assert record.rounds[0]["client.acc_mean"] == 2.0
