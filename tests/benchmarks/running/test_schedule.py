"""The order of cells and the time that is left, with the durations of a published grid."""

from __future__ import annotations

import heapq
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fl_bench.benchmarks.grid.cell import Cell
from fl_bench.benchmarks.grid.grid import Grid, Overrides
from fl_bench.benchmarks.records.rows import seconds_of
from fl_bench.benchmarks.records.store import Store
from fl_bench.benchmarks.running.executor import Event
from fl_bench.benchmarks.running.runner import Ending
from fl_bench.benchmarks.running.schedule import Schedule, earlier_runs, fitted, likeness, round_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fl_bench.benchmarks.records.record import Outcome, Record

    MakeGrid = Callable[..., Grid]

PUBLISHED = Path(__file__).parents[3] / "results" / "catalogue"
DONE = Ending("done", None, Path())


class Simulation:
    """A grid on workers that take, for each round, what a record says."""

    def __init__(
        self, cells: Sequence[Cell], seconds: Mapping[str, Sequence[float]], known: Mapping[str, Sequence[float]]
    ) -> None:
        self.now = 0.0
        self.schedule = Schedule(cells, known, clock=lambda: self.now)
        self._seconds = seconds

    def run(self, jobs: int) -> list[tuple[float, float | None]]:
        """Moments at which a cell has ended, and how much time the schedule then thought was left."""
        queue, heap, said = list(self.schedule.cells), [], []
        count = len(queue)

        def start() -> None:
            cell = queue.pop(0)
            self.schedule.take(Event("started", cell))
            moment = self.now
            for index, seconds in enumerate(self._seconds[cell.key]):
                moment += seconds
                heapq.heappush(heap, (moment, cell.key, index, Event("round", cell, round=index)))
            heapq.heappush(heap, (moment + 0.1, cell.key, count, Event("ended", cell, ending=DONE)))

        for _ in range(jobs):
            start()
        while heap:
            self.now, *_, event = heapq.heappop(heap)
            self.schedule.take(event)
            if event.kind == "ended":
                if queue:
                    start()
                said.append((self.now, self.schedule.left()))
        return said


@pytest.fixture(scope="module")
def published() -> list[tuple[Cell, Record]]:
    """The runs of a published grid: 37 methods on three data sets with three seeds."""
    found = {}
    for record in Store(PUBLISHED).records():
        if record.status == "done":
            parcel = {"cell": record.cell, "label": record.label, "tuning": "", "foreign": None}
            cell = Cell.from_worker({**parcel, "location": record.cell["dataset"]})
            found[cell.key] = (cell, record)
    assert len(found) > 300
    return list(found.values())


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [2, 8])
@pytest.mark.parametrize("history", ["none", "three times slower"])
def test_the_time_left_is_right_within_a_factor_of_two_after_a_tenth(
    published: list[tuple[Cell, Record]], jobs: int, history: str
) -> None:
    seconds = {cell.key: [seconds_of(row) for row in record.rounds] for cell, record in published}
    slower = {key: [3 * each for each in found] for key, found in round_seconds(r for _, r in published).items()}
    simulation = Simulation([cell for cell, _ in published], seconds, {} if history == "none" else slower)
    said = simulation.run(jobs)
    end = said[-1][0]
    ratios = [(left or 0.0) / (end - moment) for moment, left in said if 0.1 * end <= moment < 0.95 * end]
    assert len(ratios) > 200
    assert 0.5 < min(ratios) < max(ratios) < 2
    # Nobody waits long for the last cell: with cells in any order, eight workers end 5 % later than they could.
    assert end < 1.05 * max(sum(map(sum, seconds.values())) / jobs, *map(sum, seconds.values()))


def test_longest_first_by_earlier_records_or_by_plans(
    store: Store, small_grid: MakeGrid, outcome: Callable[..., Outcome]
) -> None:
    grid = small_grid(Overrides(methods="local,fedmd,cosmos", seeds="0,1"))
    plans = Schedule(grid.cells, {}).cells
    # One of the shortest comes first, for what it tells; local plans least of the three.
    assert [(cell.method, cell.seed) for cell in plans][:2] == [("local", 1), ("cosmos", 0)]
    assert sorted(cell.key for cell in plans) == sorted(cell.key for cell in grid.cells)
    for seed, method, took in ((7, "local", 60.0), (8, "fedmd", 20.0), (9, "cosmos", 40.0)):
        (cell,) = small_grid(Overrides(methods=method, seeds=str(seed))).cells[:1]
        store.write(cell, outcome({"client": [50.0]}, seconds=took))
    known = round_seconds(earlier_runs(store, grid.cells))
    assert known[likeness(grid.cells[0].as_dict())] == [30.0 if grid.cells[0].method == "local" else 10.0]
    schedule = Schedule(grid.cells, known)
    assert [cell.method for cell in schedule.cells] == ["local"] * 2 + ["cosmos"] * 2 + ["fedmd"] * 2
    assert schedule.left() == pytest.approx(2 * (60 + 20 + 40))
    schedule.take(Event("skipped", schedule.cells[0]))
    assert schedule.left() == pytest.approx(60 + 2 * 20 + 2 * 40)


def test_what_nobody_knows_is_not_told(small_grid: MakeGrid) -> None:
    schedule = Schedule(small_grid().cells, {})
    assert schedule.left() is None
    now = [0.0]
    schedule = Schedule(small_grid(Overrides(methods="local", seeds="0-2")).cells, {}, clock=lambda: now[0])
    for moment, event in ((0.0, Event("started", schedule.cells[0])), (8.0, Event("round", schedule.cells[0]))):
        now[0] = moment
        schedule.take(event)
    assert schedule.left() is None  # a first round says little of the others
    now[0] = 10.0
    schedule.take(Event("round", schedule.cells[0], round=1))
    schedule.take(Event("ended", schedule.cells[0], ending=DONE))
    assert schedule.left() == pytest.approx(20.0)


def test_rounds_and_passes_are_told_apart() -> None:
    # 2 s a round and 0.1 s a pass: 10 rounds with 100 passes take 30 s, with 1000 passes 120 s.
    assert fitted([(10, 100, 30.0), (10, 1000, 120.0)]) == pytest.approx((2.0, 0.1))
    # One point alone: half of it each.
    assert fitted([(10, 100, 30.0)]) == pytest.approx((1.5, 0.15))
    # Neither is below 0: the run of more passes took less time.
    assert fitted([(10, 100, 30.0), (10, 1000, 20.0)])[1] == 0.0
    assert fitted([(10, 100, 1.0), (10, 1000, 100.0)])[0] == 0.0
