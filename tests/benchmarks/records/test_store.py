"""Records are written whole or not at all, never overwritten, and read without trust."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_bench.benchmarks.grid.cell import Cell
from fl_bench.benchmarks.records import store as records
from fl_bench.benchmarks.records.lease import Lost
from fl_bench.benchmarks.records.reading import read_record, without_clocks
from fl_bench.benchmarks.records.record import AlreadyRecorded, Outcome, RecordError
from fl_bench.benchmarks.records.rows import csv_text, parse_csv
from fl_bench.benchmarks.records.store import Store
from fl_bench.errors import DataError

MakeCell = Callable[..., Cell]
MakeOutcome = Callable[..., Outcome]
Snapshot = Callable[[Path], dict[str, bytes]]


def test_a_record_reads_back(store: Store, cell_of: MakeCell, outcome: MakeOutcome) -> None:
    cell = cell_of("fedmd")
    folder = store.write(cell, outcome({"client": [10.0, 20.5]}, validation=[1.0, None]))
    assert folder == store.runs / "digits" / f"fedmd-0-{cell.key}"
    record = store.find(cell)
    assert record is not None
    assert (record.status, record.label, record.cell) == ("done", "fedmd", cell.as_dict())
    assert [row["client.acc_mean"] for row in record.rounds] == [10.0, 20.5]
    assert [row["val_acc_mean"] for row in record.rounds] == [1.0, None]
    assert sorted(path.name for path in folder.iterdir()) == ["clients.csv", "rounds.csv", "run.json"]
    assert list(store.runs.rglob("*.tmp")) == []


def test_a_record_is_found_under_another_label(store: Store, cell_of: MakeCell, outcome: MakeOutcome) -> None:
    store.write(cell_of("fedmd[label=old;digest_epochs=2]"), outcome())
    record = store.find(cell_of("fedmd[digest_epochs=2]"))
    assert record is not None
    assert record.label == "old"


@pytest.mark.parametrize("status", ["done", "diverged", "failed", "timeout", "unsupported"])
def test_a_finished_record_is_never_overwritten(
    store: Store, cell_of: MakeCell, outcome: MakeOutcome, snapshot: Snapshot, status: str
) -> None:
    cell = cell_of()
    store.write(cell, outcome(status=status))
    before = snapshot(store.results)
    with pytest.raises(RecordError, match="never overwritten"):
        store.write(cell, outcome({"client": [1.0]}))
    assert snapshot(store.results) == before


def test_only_retry_replaces_and_only_what_is_not_done(store: Store, cell_of: MakeCell, outcome: MakeOutcome) -> None:
    cell = cell_of()
    store.write(cell, outcome(status="failed", reason="x"))
    store.write(cell, outcome({"client": [1.0]}), replace=True)
    record = store.find(cell)
    assert record is not None
    assert record.status == "done"
    with pytest.raises(RecordError, match="never overwritten"):
        store.write(cell, outcome(status="failed"), replace=True)
    assert [path.name for path in store.folders()] == [record.folder.name]


@pytest.mark.parametrize("failing", ["rounds.csv", "clients.csv", "run.json"])
def test_a_full_disk_leaves_all_as_it_was(
    store: Store,
    cell_of: MakeCell,
    outcome: MakeOutcome,
    snapshot: Snapshot,
    leave_checkpoint: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    failing: str,
) -> None:
    store.write(cell_of("fedmd"), outcome({"client": [1.0]}))
    store.write(cell_of(), outcome(status="failed"))
    leave_checkpoint(store, cell_of())
    before = snapshot(store.results)
    real = records.write_text

    def full(path: Path, text: str) -> None:
        if path.name == failing:
            path.write_text(text[:10])  # half a file, as a full disk leaves it
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, text)

    monkeypatch.setattr(records, "write_text", full)
    with pytest.raises(RecordError, match="No space left on device"):
        store.write(cell_of(), outcome({"client": [1.0]}), replace=True)
    assert snapshot(store.results) == before


def test_a_rename_that_fails_brings_the_old_record_back(
    store: Store, cell_of: MakeCell, outcome: MakeOutcome, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(cell_of(), outcome(status="failed"))
    before = snapshot(store.results)
    real = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path.suffix == ".tmp":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(RecordError, match="cannot write the record"):
        store.write(cell_of(), outcome(), replace=True)
    assert snapshot(store.results) == before


def test_a_record_gets_its_name_only_while_the_cell_is_held(
    store: Store, cell_of: MakeCell, outcome: MakeOutcome, snapshot: Snapshot
) -> None:
    cell = cell_of()
    with store.claim(cell) as late:
        os.utime(late.path, (0, 0))  # stopped for longer than its lease
        with store.claim(cell) as claim:
            with pytest.raises(Lost, match="longer than its lease"):
                store.write(cell, outcome({"client": [1.0]}), claim=late)
            assert store.find(cell) is None
            store.write(cell, outcome({"client": [2.0]}), claim=claim)
            before = snapshot(store.runs)
            with pytest.raises(AlreadyRecorded):
                store.write(cell, outcome({"client": [1.0]}), claim=late)
            assert snapshot(store.runs) == before


@pytest.mark.parametrize("retry", [False, True])
def test_a_record_that_comes_late_takes_no_name_from_another(
    store: Store, cell_of: MakeCell, outcome: MakeOutcome, monkeypatch: pytest.MonkeyPatch, retry: bool
) -> None:
    # The process is stopped at the worst moment: it has seen that its cell is held, and not yet given the name.
    cell = cell_of()
    if retry:
        store.write(cell, outcome(status="failed", reason="first"))
    real = records.write_text

    def stopped(path: Path, text: str) -> None:
        real(path, text)
        if path.name == "run.json":
            monkeypatch.setattr(records, "write_text", real)
            with store.claim(cell) as claim:
                store.write(cell, outcome({"client": [2.0]}), replace=retry, claim=claim)

    monkeypatch.setattr(records, "write_text", stopped)
    with pytest.raises(AlreadyRecorded, match="recorded meanwhile"):
        store.write(cell, outcome(status="failed", reason="late"), replace=retry)
    record = store.find(cell)
    assert record is not None
    assert (record.status, len(record.rounds)) == ("done", 1)
    assert [path.name for path in (store.runs / "digits").iterdir()] == [record.folder.name]


def test_a_folder_that_takes_no_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match=r"cannot write records to .*file.*--out"):
        Store(tmp_path / "file").check_writable()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "it has no run.json"),
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("[]", "does not say its format"),
        ('{"format": "1"}', "does not say its format"),
        ('{"format": 2}', "has format 2, this fl-bench reads up to 1"),
        ('{"format": 1}', "lacks or garbles status, label, key, cell"),
        ("[" * 100_000, "cannot be read"),
    ],
)
def test_a_garbled_record_is_named(store: Store, cell_of: MakeCell, content: str | None, message: str) -> None:
    cell = cell_of()
    folder = store.runs / cell.folder
    folder.mkdir(parents=True)
    if content is not None:
        (folder / "run.json").write_text(content)
    with pytest.raises(DataError, match=message) as error:
        store.find(cell)
    assert str(folder) in str(error.value)


@pytest.mark.parametrize(("field", "value"), [("status", "fine"), ("cell", {}), ("facts", []), ("label", None)])
def test_a_record_with_a_wrong_field_is_named(
    store: Store, cell_of: MakeCell, outcome: MakeOutcome, field: str, value: Any
) -> None:
    folder = store.write(cell_of(), outcome())
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**run, field: value}))
    with pytest.raises(DataError, match=f"garbles {field}"):
        read_record(folder)


@pytest.mark.parametrize("protocol", [None, [], 2, {"rounds": "2"}, {"rounds": True}, {"data": 1, "other": 1}])
def test_a_record_with_a_garbled_protocol_is_named(
    store: Store, cell_of: MakeCell, outcome: MakeOutcome, protocol: Any
) -> None:
    folder = store.write(cell_of(), outcome())
    run = json.loads((folder / "run.json").read_text())
    assert run["cell"]["protocol"].keys() == {"data", "rounds", "method"}
    run["cell"]["protocol"] = protocol
    (folder / "run.json").write_text(json.dumps(run))
    with pytest.raises(DataError, match=r"garbles cell\.protocol"):
        read_record(folder)


@pytest.mark.parametrize("text", ["", "round,x\n1\n", 'round\n"1'])
def test_garbled_rounds_are_named(store: Store, cell_of: MakeCell, outcome: MakeOutcome, text: str) -> None:
    folder = store.write(cell_of(), outcome())
    (folder / "rounds.csv").write_text(text)
    with pytest.raises(DataError, match=r"rounds\.csv"):
        _ = read_record(folder).rounds


numbers = st.floats(allow_nan=False) | st.integers() | st.none()


@given(st.lists(st.fixed_dictionaries({"a": numbers, "seconds_x": numbers, "b": numbers}), min_size=1))
def test_tables_keep_every_bit(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]) -> None:
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    path.write_text(csv_text(rows), newline="")
    again = parse_csv(path.read_bytes().decode(), path)
    assert again == rows
    assert [{name: type(value) for name, value in row.items()} for row in again] == [
        {name: type(value) for name, value in row.items()} for row in rows
    ]
    assert list(again[0])[-1] == "seconds_x"  # clocks last


def test_columns_that_come_later_are_kept() -> None:
    assert csv_text([{"round": 0, "seconds_a": 1.0}, {"round": 1, "clusters": 2, "seconds_a": 1.5}]) == (
        "round,clusters,seconds_a\n0,,1.0\n1,2,1.5\n"
    )


def test_without_clocks_differs_in_numbers_only(tmp_path: Path, cell_of: MakeCell, outcome: MakeOutcome) -> None:
    def write(name: str, accuracy: float, seconds: float) -> dict[str, Any]:
        made = outcome({"client": [accuracy]}, seconds=seconds)
        made.rounds[0]["seconds_training"] = seconds  # type: ignore[index]  # the fixture makes dicts
        return without_clocks(Store(tmp_path / name).write(cell_of(), made))

    assert write("a", 1.0, 2.0) == write("b", 1.0, 3.0)
    assert write("c", 1.0 + 1e-15, 2.0) != write("d", 1.0, 2.0)


def test_what_others_record_meanwhile_is_found(store: Store, cell_of: MakeCell, outcome: MakeOutcome) -> None:
    store.write(cell_of("local"), outcome())
    watching, others = Store(store.results), Store(store.results)
    assert watching.find(cell_of("fedmd")) is None
    others.write(cell_of("fedmd"), outcome())
    others.write(cell_of("fedavg[label=renamed]"), outcome())
    assert watching.find(cell_of("fedmd")) is not None  # under its own name at once
    assert watching.find(cell_of("fedavg")) is None  # under another one when the store looks again,
    with pytest.raises(RecordError, match="never overwritten"):  # which it does before it writes
        watching.write(cell_of("fedavg"), outcome())
    assert watching.find(cell_of("fedavg")) is not None


def test_a_folder_is_listed_once_for_all_cells(
    store: Store, cell_of: MakeCell, outcome: MakeOutcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(5):
        store.write(cell_of("local", seed), outcome())
    real, listed = os.scandir, []
    monkeypatch.setattr(os, "scandir", lambda path: (listed.append(path), real(path))[1])
    again = Store(store.results)
    assert sum(again.find(cell_of("local", seed)) is not None for seed in range(8)) == 5
    assert len(listed) <= 1
