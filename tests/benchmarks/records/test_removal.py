"""`pack --remove` takes away what is in the bundle and nothing else, whatever happens meanwhile."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.grid.cell import Cell
from fl_bench.benchmarks.records import bundle
from fl_bench.benchmarks.records.record import Outcome
from fl_bench.benchmarks.records.removal import ASIDE, remove_packed
from fl_bench.benchmarks.records.store import Store

if TYPE_CHECKING:
    from pathlib import Path

MakeCell = Callable[..., Cell]
MakeOutcome = Callable[..., Outcome]


@pytest.fixture
def filled(store: Store, cell_of: MakeCell, outcome: MakeOutcome) -> Store:
    for seed in range(3):
        store.write(cell_of("local", seed), outcome({"client": [40.0, 50.0 + seed]}))
    return store


def test_records_that_finish_while_packing_stay(
    filled: Store, cell_of: MakeCell, outcome: MakeOutcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attack: another process finishes records all the time that packing takes."""
    made: list[str] = []
    stop = threading.Event()

    def finish() -> None:
        others = Store(filled.results)
        for seed in range(100, 160):
            made.append(others.write(cell_of("local", seed), outcome()).name)
            if stop.is_set():
                return

    writer = threading.Thread(target=finish)
    real = bundle.write_bundle

    def slow(path: Path, texts: bundle.Texts, *declared: str | None) -> None:
        before = len(made)
        real(path, texts, *declared)
        while writer.is_alive() and len(made) < before + 5:  # at least five finish after the texts were read
            stop.wait(0.01)

    monkeypatch.setattr(bundle, "write_bundle", slow)
    writer.start()
    try:
        assert run_command(["pack", str(filled.results), "--remove"]) == 0
    finally:
        stop.set()
        writer.join()
    found = {name.partition("/")[2] for name in Store(filled.results).names()}
    assert set(made) <= found
    assert len(found) == 3 + len(made)
    assert len(Store(filled.results).records()) == len(found)


@pytest.mark.parametrize("kill", ["rename", "half", "rmtree"])
def test_a_kill_leaves_the_folder_or_the_packed_record(
    filled: Store, kill: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = {record.name: dict(record.texts()) for record in filled.records()}

    class Killed(BaseException):
        pass

    real = shutil.rmtree

    def dies(path: Path, *_: object, **__: object) -> None:
        if kill == "half":
            (path / "run.json").unlink()  # the deletion had begun
        elif kill == "rmtree":
            real(path)
        raise Killed

    monkeypatch.setattr(shutil, "rmtree", dies)
    with pytest.raises(Killed):
        run_command(["pack", str(filled.results), "--remove"])
    monkeypatch.setattr(shutil, "rmtree", real)
    again = Store(filled.results)
    assert all((folder / "run.json").is_file() for folder in again.folders())
    assert {record.name: dict(record.texts()) for record in again.records()} == texts
    assert run_command(["pack", str(filled.results), "--remove"]) == 0
    assert f"removed the folders of {3 if kill != 'rmtree' else 2} records" in capsys.readouterr().err
    assert [path for path in filled.runs.glob("*/*") if path.is_dir()] == []
    assert {record.name: dict(record.texts()) for record in Store(filled.results).records()} == texts


def test_what_differs_from_the_bundle_is_put_back(filled: Store) -> None:
    packed = {record.name: dict(record.texts()) for record in filled.records()}
    changed, noted, *_ = filled.folders()
    (changed / "clients.csv").write_text("round,client\n0,1\n")
    (noted / "notes.txt").write_text("mine")
    assert len(remove_packed(filled.runs, packed)) == 1
    assert sorted(path for path in filled.runs.glob("*/*")) == sorted([changed, noted])
    # So does what a removal that was killed left, should the record have become another one.
    changed.rename(changed.with_name(f".{changed.name}{ASIDE}"))
    assert remove_packed(filled.runs, packed) == []
    assert changed.is_dir()


def test_the_folder_of_a_cell_that_is_running_stays(filled: Store) -> None:
    packed = {record.name: dict(record.texts()) for record in filled.records()}
    assert remove_packed(filled.runs, packed, lambda place: place[1] == "1") != []
    assert [folder.name.split("-")[1] for folder in filled.folders()] == ["1"]


def test_a_damaged_record_is_neither_packed_nor_removed(filled: Store, capsys: pytest.CaptureFixture[str]) -> None:
    bad, *_ = filled.folders()
    (bad / "rounds.csv").write_text("round\n0\n")
    assert run_command(["pack", str(filled.results), "--remove"]) == 1
    assert filled.folders() == [bad]
    assert "left out, damaged: " in capsys.readouterr().err
    assert len(Store(filled.bundle).names()) == 2


def test_a_damaged_folder_does_not_cost_the_record_in_the_bundle(
    filled: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["pack", str(filled.results)]) == 0
    before = filled.bundle.read_bytes()
    (filled.folders()[0] / "rounds.csv").write_text("round\n0\n")
    assert run_command(["pack", str(filled.results), "--remove"]) == 2
    assert "which packing would lose" in capsys.readouterr().err
    assert filled.bundle.read_bytes() == before
    assert len(filled.folders()) == 3
