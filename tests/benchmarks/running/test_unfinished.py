"""Records of runs whose worker could not write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fl_bench.benchmarks.records.reading import read_record
from fl_bench.benchmarks.running.runner import Ending, Options
from fl_bench.benchmarks.running.unfinished import Heard, packed, record_for
from fl_bench.federation.rows import RoundRow

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.store import Store


def end(
    cell: Cell, store: Store, heard: Heard, *, status: Literal["timeout", "failed"] = "timeout", retry: bool = False
) -> Ending:
    options = Options(retry=retry)
    event = record_for(cell, status, "by design", heard, seconds=3.0, store=store, options=options)
    assert event.ending is not None
    return event.ending


def heard(rounds: int) -> Heard:
    """What a worker sends of a run with 2 clients whose rounds take 2 seconds."""
    rows = [
        RoundRow({"round": index, "seconds_training": 2.0}, [{"round": index, "client": client} for client in range(2)])
        for index in range(rounds)
    ]
    return Heard({"device": "cpu"}, {"deployed": "client", "views": []}, [packed(row) for row in rows])


def test_a_record_has_what_was_heard(store: Store, cell_of: Callable[..., Cell]) -> None:
    record = read_record(end(cell_of(), store, heard(2)).folder)
    assert (record.status, record.reason) == ("timeout", "by design")
    assert record.rounds == [{"round": 0, "seconds_training": 2.0}, {"round": 1, "seconds_training": 2.0}]
    assert [(row["round"], row["client"]) for row in record.clients] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert record.facts == {"deployed": "client", "views": []}
    assert record.run["provenance"] == {"device": "cpu"}
    assert record.seconds == 4.0  # the run was interrupted: 3 s are those since it was continued


def test_a_worker_that_said_nothing_leaves_a_record_without_rounds(store: Store, cell_of: Callable[..., Cell]) -> None:
    record = read_record(end(cell_of(), store, Heard()).folder)
    assert (record.rounds, record.clients, record.facts, record.seconds) == ([], [], {}, 3.0)
    assert record.run["provenance"]["packages"]


def test_a_checkpoint_stays_for_another_attempt_and_its_empty_folder_goes(
    store: Store, cell_of: Callable[..., Cell], leave_checkpoint: Callable[..., Path]
) -> None:
    first, second = cell_of(seed=0), cell_of(seed=1)
    part = leave_checkpoint(store, first).parent
    leave_checkpoint(store, second).unlink()
    for cell in (first, second):
        end(cell, store, heard(1))
    assert store.has_checkpoint(first)
    assert list(store.runs.rglob("*.part")) == [part]


def test_an_attempt_without_rounds_leaves_those_of_an_earlier_one(store: Store, cell_of: Callable[..., Cell]) -> None:
    cell = cell_of()
    first = end(cell, store, heard(1))
    assert end(cell, store, Heard(), status="failed", retry=True) == first
    assert len(read_record(first.folder).rounds) == 1
    assert end(cell, store, heard(2), status="failed", retry=True).status == "failed"
    assert len(read_record(first.folder).rounds) == 2
