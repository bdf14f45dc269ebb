"""`fl-bench fsck` says what is wrong in a results folder, and moves it away without deleting anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.grid.cell import Cell
from fl_bench.benchmarks.records.record import Outcome
from fl_bench.benchmarks.records.recovery import recover
from fl_bench.benchmarks.records.store import Store

if TYPE_CHECKING:
    from pathlib import Path

MakeCell = Callable[..., Cell]
MakeOutcome = Callable[..., Outcome]
Snapshot = Callable[..., dict[str, bytes]]


@pytest.fixture
def filled(store: Store, cell_of: MakeCell, outcome: MakeOutcome) -> Store:
    """Three methods on one seed."""
    for method in ("local", "fedmd", "fedavg"):
        store.write(cell_of(method), outcome({"client": [40.0, 50.0]}))
    return store


def fsck(store: Store, *options: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[dict[str, Any]]]:
    code = run_command(["fsck", str(store.results), "--json", *options])
    return code, json.loads(capsys.readouterr().out)


def one_of(store: Store, method: str) -> Path:
    return next(folder for folder in store.folders() if folder.name.startswith(f"{method}-"))


def test_a_sound_folder_and_its_bundle_pass(filled: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert fsck(filled, capsys=capsys) == (0, [])
    assert run_command(["pack", str(filled.results), "--remove"]) == 0
    capsys.readouterr()
    assert fsck(filled, capsys=capsys) == (0, [])
    assert run_command(["fsck", str(filled.bundle)]) == 0
    assert "3 records sound, 0 findings" in capsys.readouterr().err


def change_run(folder: Path, change: Callable[[Any], None]) -> None:
    run = json.loads((folder / "run.json").read_text())
    change(run)
    (folder / "run.json").write_text(json.dumps(run))


def dealt_otherwise(run: Any) -> None:
    run["facts"]["pairing"]["partition"] = "x"


def cut(folder: Path, file: str, lines: int) -> None:
    text = (folder / file).read_text().splitlines(keepends=True)
    (folder / file).write_text("".join(text[:lines]))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "cannot be read": lambda folder: (folder / "run.json").write_text("{"),
    "has the key": lambda folder: change_run(folder, lambda run: run["cell"].update(seed=5)),
    "holds the record of": lambda folder: folder.rename(folder.with_name(folder.name.replace("-0-", "-4-"))),
    "is done with 1 of 2 rounds": lambda folder: cut(folder, "rounds.csv", 2),
    "not as many for each of 2 rounds": lambda folder: cut(folder, "clients.csv", 2),
    "a client twice in one round": lambda folder: (folder / "clients.csv").write_text(
        "round,client,client.acc\n0,0,1.0\n0,0,1.0\n1,0,1.0\n1,1,1.0\n"
    ),
    "lacks the column client.acc": lambda folder: (folder / "clients.csv").write_text("round,client\n0,0\n1,0\n"),
    "holds what is no file of a record: notes": lambda folder: (folder / "notes").write_text(""),
    "has another partition": lambda folder: change_run(folder, dealt_otherwise),
}


@pytest.mark.parametrize("problem", DAMAGE)
def test_each_kind_of_damage_is_found_and_moved(
    filled: Store, problem: str, capsys: pytest.CaptureFixture[str], snapshot: Snapshot
) -> None:
    DAMAGE[problem](one_of(filled, "fedmd"))
    before = snapshot(filled.results)
    code, (found,) = fsck(filled, capsys=capsys)
    assert code == 1
    assert problem in found["problem"]
    assert "fedmd" in found["place"]
    assert found["remedy"]
    assert snapshot(filled.results) == before  # it only looks
    code, (found,) = fsck(filled, "--quarantine", capsys=capsys)
    assert code == 1
    assert found["moved"].startswith(str(filled.results / "quarantine" / "digits" / "fedmd-"))
    assert sorted(snapshot(filled.results).values()) == sorted(before.values())  # nothing is lost
    assert fsck(filled, capsys=capsys) == (0, [])
    assert [record.label for record in Store(filled.results).records()] == ["fedavg", "local"]


def test_bad_records_leave_the_bundle_for_the_quarantine(filled: Store, capsys: pytest.CaptureFixture[str]) -> None:
    cut(one_of(filled, "fedmd"), "rounds.csv", 2)
    assert run_command(["pack", str(filled.results), "--remove"]) == 0
    capsys.readouterr()
    _, (found,) = fsck(filled, "--quarantine", capsys=capsys)
    assert found["kind"] == "packed"
    assert (filled.results / "quarantine" / "digits").is_dir()
    assert fsck(filled, capsys=capsys) == (0, [])
    assert [record.label for record in Store(filled.bundle).records()] == ["fedavg", "local"]


def test_where_no_side_has_most_nothing_is_moved(filled: Store, capsys: pytest.CaptureFixture[str]) -> None:
    one_of(filled, "fedavg").rename(filled.results / "away")
    change_run(one_of(filled, "fedmd"), dealt_otherwise)
    _, found = fsck(filled, "--quarantine", capsys=capsys)
    assert [(one["kind"], one["moved"]) for one in found] == [("pairing", None), ("pairing", None)]
    assert len(filled.folders()) == 2


def test_a_second_record_of_a_cell_is_found(filled: Store, capsys: pytest.CaptureFixture[str]) -> None:
    first = one_of(filled, "fedmd")
    twin = first.with_name(first.name.replace("fedmd", "other"))
    twin.mkdir()
    for path in first.iterdir():
        (twin / path.name).write_bytes(path.read_bytes())
    _, (found,) = fsck(filled, capsys=capsys)
    assert found["place"] == str(twin)
    assert "is the same run as digits/fedmd-0-" in found["problem"]


def test_what_kills_leave_is_found(
    filled: Store, cell_of: MakeCell, leave_checkpoint: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = one_of(filled, "local")
    left = [folder.with_name(f"{folder.name}.tmp"), folder.with_name(f"{folder.name}.old")]
    left.append(folder.with_name(f".{folder.name}.packed"))
    for place in left:
        place.mkdir()
    left.append(leave_checkpoint(filled, cell_of("local")).parent)
    leave_checkpoint(filled, cell_of("local", 1))  # of a run that is not done: it goes on from there
    code, found = fsck(filled, capsys=capsys)
    assert (code, {one["place"] for one in found}) == (1, set(map(str, left)))
    fsck(filled, "--quarantine", capsys=capsys)
    assert fsck(filled, capsys=capsys) == (0, [])
    assert filled.has_checkpoint(cell_of("local", 1))


def test_a_record_that_was_being_replaced_is_put_back(
    store: Store, cell_of: MakeCell, outcome: MakeOutcome, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = store.write(cell_of(), outcome(status="failed", reason="boom"))
    old = folder.with_name(f"relabelled{folder.name.removeprefix('local')}.old")
    folder.rename(old)
    _, (found,) = fsck(store, capsys=capsys)
    assert found["kind"] == "replaced"
    assert recover(Store(store.results)) == {old: folder}
    assert Store(store.results).find(cell_of()) is not None
    # One whose successor is there is none to put back, whatever its label.
    folder.rename(old)
    Store(store.results).write(cell_of("local[label=other]"), outcome())
    assert recover(Store(store.results)) == {}
    _, (found,) = fsck(store, "--quarantine", capsys=capsys)
    assert found["moved"] == str(store.results / "quarantine" / "digits" / old.name)


def test_mistakes_are_explained(
    filled: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["pack", str(filled.results)]) == 0
    monkeypatch.chdir(filled.results)
    assert run_command(["fsck", "nowhere"]) == 2
    assert "nowhere has no records" in capsys.readouterr().err
    assert run_command(["fsck", "records.tar.xz", "--quarantine"]) == 2
    assert "--quarantine takes a results folder" in capsys.readouterr().err
