"""Records that another machine made: kept byte for byte where they are of the cell, refused by name where not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from fl_bench.benchmarks.records.adoption import check_texts
from fl_bench.benchmarks.records.record import RecordError
from fl_bench.benchmarks.records.store import Store
from fl_bench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.record import Outcome

    Texts = dict[str, str]


@pytest.fixture
def cell(cell_of: Callable[..., Cell]) -> Cell:
    return cell_of("local")


@pytest.fixture
def texts(cell: Cell, outcome: Callable[..., Outcome], tmp_path: Path) -> Texts:
    """The record of a run of two rounds, made elsewhere."""
    elsewhere = Store(tmp_path / "elsewhere")
    elsewhere.write(cell, outcome({"client": [50.0, 60.5]}))
    record = elsewhere.find(cell)
    assert record is not None
    return dict(record.texts())


def test_a_record_is_kept_byte_for_byte(cell: Cell, texts: Texts, store: Store) -> None:
    folder = store.adopt(cell, texts)
    assert folder == store.runs / cell.folder
    assert {path.name: path.read_bytes().decode() for path in folder.iterdir()} == texts
    record = store.find(cell)
    assert record is not None
    assert (record.status, record.rounds[1]["client.acc_mean"]) == ("done", 60.5)


def test_a_done_record_is_never_replaced(
    cell: Cell, texts: Texts, store: Store, outcome: Callable[..., Outcome], snapshot: Callable[[Path], Any]
) -> None:
    store.write(cell, outcome({"client": [1.0, 2.0]}))
    before = snapshot(store.results)
    for replace in (False, True):
        with pytest.raises(RecordError, match="never overwritten"):
            store.adopt(cell, texts, replace=replace)
    assert snapshot(store.results) == before


def test_what_failed_makes_room_when_asked(
    cell: Cell, texts: Texts, store: Store, outcome: Callable[..., Outcome]
) -> None:
    store.write(cell, outcome(status="failed", reason="by design"))
    with pytest.raises(RecordError, match=r"finished \(failed\)"):
        store.adopt(cell, texts)
    store.adopt(cell, texts, replace=True)
    assert [record.status for record in store.records()] == ["done"]


def run_json(**changes: Any) -> Callable[[Texts], None]:
    def change(texts: Texts) -> None:
        run = {**json.loads(texts["run.json"]), **changes}
        texts["run.json"] = json.dumps({name: part for name, part in run.items() if part is not ...}, indent=1) + "\n"

    return change


def csv(name: str, before: str, after: str) -> Callable[[Texts], None]:
    def change(texts: Texts) -> None:
        assert before in texts[name]
        texts[name] = texts[name].replace(before, after)

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda texts: texts.pop("clients.csv"), "has the files"),
        (lambda texts: texts.update({"../../x": ""}), "has the files"),
        (lambda texts: texts.update({"run.json": "{"}), "cannot be read"),
        (lambda texts: texts.update({"run.json": texts["run.json"] + " "}), "not written as records are"),
        (
            lambda texts: texts.update({"run.json": texts["run.json"].replace('"status"', '"status": 1, "status"')}),
            "not",
        ),
        (run_json(key="0123456789"), "has the key 0123456789, but its cell makes"),
        (run_json(label="cosmos"), "garbles label"),
        (run_json(tuning="on test data"), "garbles tuning"),
        (run_json(format=0), "garbles format"),
        (run_json(format=2), "newer fl-bench"),
        (run_json(more=1), "garbles more"),
        (run_json(status="great"), "status"),
        (run_json(status="failed"), "garbles reason"),
        (run_json(reason="no"), "garbles reason"),
        (run_json(clocks={}), "garbles clocks"),
        (run_json(provenance=...), "provenance"),
        (csv("run.json", '"seed": 0', '"seed": 1'), "but its cell makes"),
        (csv("rounds.csv", "\n1,", "\n2,"), "garbles the column round"),
        (csv("rounds.csv", "\n1,", "\n1,1,"), "cells under"),
        (csv("rounds.csv", "round,", "turn,"), "garbles the column round"),
        (lambda texts: texts.update({"rounds.csv": "".join(texts["rounds.csv"].splitlines(True)[:2])}), "has 1 rounds"),
        (lambda texts: texts.update({"rounds.csv": texts["rounds.csv"] + "2" + "," * 8 + "\n"}), "rounds.csv"),
        (csv("clients.csv", "\n1,0", "\n7,0"), "no round"),
        (csv("clients.csv", "\n1,0", "\n1,5"), "no client"),
        (csv("clients.csv", "\n1,0", "\n1,x"), "for a number in client"),
        (lambda texts: texts.update({"clients.csv": ""}), "is empty"),
    ],
)
def test_what_is_no_record_of_the_cell_is_refused(
    cell: Cell, texts: Texts, store: Store, change: Callable[[Texts], Any], reason: str
) -> None:
    change(texts)
    with pytest.raises(DataError, match=reason):
        store.adopt(cell, texts)
    assert not store.runs.exists()


def test_a_file_has_its_limit(cell: Cell, texts: Texts, monkeypatch: pytest.MonkeyPatch) -> None:
    check_texts(cell, texts)
    monkeypatch.setattr("fl_bench.benchmarks.records.adoption.MOST_BYTES", 100)
    with pytest.raises(DataError, match="100 are the most"):
        check_texts(cell, texts)
