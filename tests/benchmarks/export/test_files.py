"""Records as tables in files: what is read back is what records say, whatever tool reads it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.export.export import export_records
from fl_bench.benchmarks.export.frames import clients_frame, rounds_frame, runs_frame
from fl_bench.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.grid.grid import Grid
    from fl_bench.benchmarks.records.record import Outcome, Record
    from fl_bench.benchmarks.records.store import Store

TABLES = ("leaderboard", "runs", "rounds", "clients")
READ = {"csv": pd.read_csv, "parquet": pd.read_parquet}


@pytest.fixture
def records(store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]) -> list[Record]:
    """Two runs that are done, one of them with a view that is not deployed, and one that failed after a round."""
    store.write(cell_of("local"), outcome({"client": [1 / 3, 50.0]}, validation=[None, 40.0]))
    store.write(cell_of("fedmd"), outcome({"client": [20.0, 60.5], "server": [10.0, 11.0]}))
    store.write(cell_of("fedmd", 1), outcome({"client": [20.0]}, status="failed", reason="it, so to speak, broke"))
    return store.records()


@pytest.mark.parametrize("form", READ)
def test_what_is_written_is_what_records_say(form: str, records: list[Record], tmp_path: Path) -> None:
    written = export_records(records, form, tmp_path / "out")
    assert written == [tmp_path / "out" / f"{name}.{form}" for name in TABLES]
    board, runs, rounds, clients = (READ[form](path) for path in written)
    for read, frame in (
        (runs, runs_frame(records)),
        (rounds, rounds_frame(records)),
        (clients, clients_frame(records)),
    ):
        pd.testing.assert_frame_equal(read, frame, check_dtype=False, check_exact=True)
    assert dict(zip(runs["status"], runs["accuracy"].isna(), strict=True)) == {"done": False, "failed": True}
    first = rounds[(rounds["method"] == "local") & (rounds["round"] == 0)]
    assert first["accuracy"].item() == 1 / 3
    assert rounds["server.acc_mean"].dropna().tolist() == [10.0, 11.0]
    assert rounds["validation"].dropna().tolist() == [40.0]
    assert len(rounds) == len(clients) == 5
    assert board.set_index(["method", "view"])["acc_mean"].to_dict() == {
        ("local", "client"): 50.0,
        ("fedmd", "client"): 60.5,
        ("fedmd", "server"): 11.0,
    }


def test_seeds_that_are_text_make_the_column_text(
    store: Store, small_grid: Callable[..., Grid], outcome: Callable[..., Outcome], tmp_path: Path
) -> None:
    for cell in small_grid(methods=("local",), vary={"init": (3,)}).cells:
        store.write(cell, outcome())
    (_, runs, *_) = export_records(store.records(), "parquet", tmp_path)
    assert sorted(pd.read_parquet(runs)["seed"]) == ["0", "0/init=3"]


def test_files_are_replaced_and_others_stay(records: list[Record], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    export_records(records, "csv", tmp_path)
    export_records(records[:1], "csv", tmp_path)
    assert len(pd.read_csv(tmp_path / "runs.csv")) == 1
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_target_that_is_none_suggests_one(records: list[Record], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no export is named 'parket'; did you mean 'parquet'\? \(known: csv, "):
        export_records(records, "parket", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_package_that_is_missing_is_said_before_anything_is_written(
    records: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"--to parquet cannot import its package .* 'fl-bench\[parquet\]'"):
        export_records(records, "parquet", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("records")
def test_the_command_says_what_it_wrote(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run_command(["export", str(store.results), "--to", "csv", "--out", str(out)]) == 0
    assert f"wrote 3 runs to {out / 'leaderboard.csv'}, " in " ".join(capsys.readouterr().err.split())
    assert run_command(["export", str(store.results), "--to", "csv", "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["to"], told["runs"]) == ("csv", 3)
    assert [pd.read_csv(path).empty for path in told["written"]] == [False] * 4
    assert run_command(["export", str(store.results), "--out", str(out), "--methods", "local"]) == 0
    assert pd.read_csv(out / "runs.csv")["method"].tolist() == ["local"]
