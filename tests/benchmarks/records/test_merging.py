"""Records of several folders in one: all of them and byte for byte, or none where two contradict."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ledgers
import pytest

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.grid.declaration import Declaration
from fl_bench.benchmarks.records.declarations import Declared, declare, read_declarations
from fl_bench.benchmarks.records.shared_rows import keep, looked_at, overlaps_in
from fl_bench.benchmarks.records.store import Store
from fl_bench.datasets.overlap import Overlap

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.record import Outcome

DECLARED = Declared(
    "small", "0" * 64, "2025-12-31T00:00:00+00:00", 0, 4, Declaration("fedmd", methods=("local",), datasets=("digits",))
)


@pytest.fixture
def two(tmp_path: Path, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]) -> list[Path]:
    """Two folders: `local` in both, with other clocks; `fedmd` with a seed in each."""
    folders = [tmp_path / "a", tmp_path / "b"]
    for seed, folder in enumerate(folders):
        store, made = Store(folder), outcome(seconds=1.0 + seed)
        made.rounds[0]["seconds_training"] = 1.0 + seed  # type: ignore[index]  # the fixture makes dicts
        store.write(cell_of("local"), made)
        store.write(cell_of("fedmd", seed), outcome())
    return folders


@pytest.fixture
def merge(two: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """The command on both folders, or on others; its exit code and all that it said."""

    def run(*words: str, sources: list[Path] | None = None) -> tuple[int, str]:
        code = run_command(["merge", *map(str, sources or two), "--out", str(tmp_path / "out"), *words])
        said = capsys.readouterr()
        return code, said.out or " ".join(said.err.split())

    return run


Merge = Any


def test_all_records_are_there_byte_for_byte(two: list[Path], merge: Merge, tmp_path: Path, snapshot: Any) -> None:
    code, said = merge()
    assert code == 0
    assert "wrote 3 runs of 2 folders" in said
    assert "1 of which several had" in said
    assert "left out" not in said
    assert snapshot(tmp_path / "out" / "runs") == {**snapshot(two[1] / "runs"), **snapshot(two[0] / "runs")}
    assert len(Store(tmp_path / "out").records()) == 3


def test_bundles_merge_as_folders_do(two: list[Path], merge: Merge, tmp_path: Path, snapshot: Any) -> None:
    bundle = tmp_path / "a.tar.xz"
    assert run_command(["pack", str(two[0]), "--out", str(bundle)]) == 0
    assert merge(sources=[bundle, two[1]])[0] == 0
    assert snapshot(tmp_path / "out" / "runs") == {**snapshot(two[1] / "runs"), **snapshot(two[0] / "runs")}


def test_a_run_that_differs_is_named_and_nothing_is_written(
    two: list[Path], merge: Merge, tmp_path: Path, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]
) -> None:
    Store(two[0]).write(cell_of("fedmd", 2), outcome({"client": [50.0, 60.0]}))
    Store(two[1]).write(cell_of("fedmd", 2), replace(outcome({"client": [50.0, 61.0]}), provenance={"fl_bench": "1"}))
    code, said = merge()
    assert code == 2
    assert f"{cell_of('fedmd', 2).folder} differs between {two[0]} and {two[1]} in rounds" in said
    assert "local" not in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_run_that_two_machines_made_alike_is_one(
    two: list[Path], merge: Merge, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]
) -> None:
    for place, version in zip(two, "12", strict=True):
        made = replace(outcome({"client": [50.0, 60.0]}), provenance={"fl_bench": version})
        Store(place).write(cell_of("fedmd", 2), made)
    assert merge()[0] == 0


def test_a_damaged_record_ends_it(two: list[Path], merge: Merge, tmp_path: Path, cell_of: Callable[..., Cell]) -> None:
    (two[1] / "runs" / cell_of("fedmd", 1).folder / "rounds.csv").write_text("round\n1,2\n")
    code, said = merge()
    assert code == 2
    assert "Nothing was merged" in said
    assert not (tmp_path / "out").exists()


def test_what_is_there_stays(two: list[Path], merge: Merge, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert "is there already; name a folder to make" in merge()[1]
    assert list((tmp_path / "out").iterdir()) == []
    assert "takes two folders or more" in merge(sources=two[:1])[1]


def test_declarations_and_the_ledger_come_along_where_folders_agree(
    two: list[Path], merge: Merge, tmp_path: Path
) -> None:
    later = replace(DECLARED, date="2026-01-02T00:00:00+00:00", recorded=3)
    other = replace(DECLARED, grid="other")
    for folder, declared in zip(two, ([later], [DECLARED, other]), strict=True):
        for one in declared:
            declare(Store(folder), one)
    ledger = ledgers.ledger(ledgers.search("local", {"training.lr": 0.5}, 3)).text()
    (two[1] / "tuning.json").write_text(ledger, encoding="utf-8")
    code, said = merge("--json")
    assert (code, json.loads(said)) == (0, {"out": str(tmp_path / "out"), "runs": 3, "in several": 1, "left out": []})
    assert read_declarations(Store(tmp_path / "out")) == (DECLARED, other)  # what was said again is there once
    assert (tmp_path / "out" / "tuning.json").read_text(encoding="utf-8") == ledger


def test_rows_that_data_sets_share_are_told_of_all_folders(two: list[Path], merge: Merge, tmp_path: Path) -> None:
    shared = Overlap("csv:a,b.csv?target=x", "digits", 9, 3, 1797, 3)
    none = Overlap("csv:c.csv?target=x", "digits", 9, 0, 1797, 0)
    keep(two[0], [shared])
    keep(two[1], [shared, none])
    assert merge()[0] == 0
    assert looked_at(tmp_path / "out") == [shared, none]
    assert overlaps_in(tmp_path / "out") == (shared,)


def test_they_stay_out_where_folders_differ(two: list[Path], merge: Merge, tmp_path: Path) -> None:
    for rope, folder in zip((1.0, 2.0), two, strict=True):
        declare(Store(folder), replace(DECLARED, comparison=replace(DECLARED.comparison, rope=rope)))
        text = ledgers.ledger(ledgers.search("local", {"training.lr": rope}, 3)).text()
        (folder / "tuning.json").write_text(text, encoding="utf-8")
    assert json.loads(merge("--json")[1])["left out"] == ["tuning.json", "comparison.json"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["runs"]
