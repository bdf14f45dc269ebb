"""`fl-bench tune`: the plan before anything runs, what is refused, and a real tuning from the grid to a comparison."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.grid.grid import read_grid
from fl_bench.benchmarks.records.store import Store
from fl_bench.benchmarks.running.executor import Event
from fl_bench.benchmarks.running.forecast import fixed_seconds
from fl_bench.benchmarks.running.here import Local
from fl_bench.benchmarks.running.runner import Options, run_cell
from fl_bench.benchmarks.tuning.ledger import read_ledger
from fl_bench.benchmarks.tuning.travel import carried

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from fl_bench.benchmarks.grid.cell import Cell

GRID = """\
name: tiny
datasets: [digits]
partition: {scheme: latent-groups, clients: 5, groups: 5, min_test: 5, val_fraction: 0.2, max_train: 400}
models: [mlp-8]
training: {rounds: 2, local_epochs: 2, lr: 5e-3}
methods: [local, fedmd]
seeds: 0-1
"""

POOR = """\
name: poor
datasets: [digits, vowel]
partition: {scheme: iid, clients: 3, public: 0.2, val_fraction: 0.3, max_train: 300}
models: [mlp-8]
training: {rounds: 2, local_epochs: 2, lr: 1e-4}
methods: [local, fedavg]
seeds: [0]
comparison: {control: fedavg}
"""


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(GRID, encoding="utf-8")
    return path


def test_the_plan_comes_first_and_runs_nothing(grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "trials"
    command = ["tune", str(grid), "--trials", "3", "--out", str(out), "--jobs", "1", "--dry-run"]
    assert run_command(command) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "2 methods x 3 trials x 1 data set x 2 seeds: at most 12 runs, 0 of them recorded, 4 to begin with" in said
    assert "core-hours" in said
    assert "training.lr log(0.0001, 0.1)" in said
    assert not out.exists()
    assert run_command([*command, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["runs_at_most"] == 12
    each = [method["seconds_per_trial"] for method in plan["methods"]]
    assert (
        min(each) > 2 * fixed_seconds(2) > 2 * fixed_seconds(1)
    )  # two seeds; the steps of so small a net take no time
    assert plan["core_hours_at_most"] == pytest.approx(3 * sum(each) / 3600)
    assert {method["trials"] for method in plan["methods"]} == {3}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--seeds", "1-2", "--dry-run"], "seed 1 would tune settings and judge them too"),
        ([], "--write names the file of the tuned grid"),
        (["--write", "tuned.txt"], "a grid is a file whose name ends in .yaml"),
        (["--per", "client", "--dry-run"], "no value of --per is named 'client'"),
        (["--sampler", "grid", "--dry-run"], "no sampler is named 'grid'"),
        (["--trials", "1", "--dry-run"], "--trials must be at least 2"),
    ],
)
def test_what_is_refused(
    grid: Path, tmp_path: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["tune", str(grid), "--out", str(tmp_path / "trials"), *options]) == 2
    assert said in capsys.readouterr().err


def test_a_file_that_no_tuning_wrote_is_not_written_over(grid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["tune", str(grid), "--write", str(grid)]) == 2
    assert "there is a file that no tuning wrote" in capsys.readouterr().err
    assert grid.read_text(encoding="utf-8") == GRID


@pytest.mark.slow
def test_from_a_grid_to_a_comparison(grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trials, out, tuned = tmp_path / "trials", tmp_path / "out", tmp_path / "tuned.yaml"
    tune = ["tune", str(grid), "--trials", "3", "--seeds", "100", "--jobs", "1", "--out", str(trials)]
    assert run_command([*tune, "--write", str(tuned)]) == 0
    records = Store(trials).records()
    assert {record.label for record in records} == {
        f"{method}-trial-{number}" for method in ("local", "fedmd") for number in range(3)
    }
    ledger, text = read_ledger(tmp_path / "tuned.tuning.json")
    for search in ledger.tunings[0].searches:
        for trial in search.trials:
            (record,) = (one for one in records if one.label == f"{search.method}-trial-{trial.number}")
            assert trial.accuracy == {"digits": {"100": record.rounds[-1]["val_acc_mean"]}}
            assert trial.steps <= search.trials[0].steps
    # The same command runs nothing more and writes the same bytes.
    again = tmp_path / "again.yaml"
    assert run_command([*tune, "--write", str(again)]) == 0
    assert (tmp_path / "again.tuning.json").read_text(encoding="utf-8") == text
    assert "12 runs" not in capsys.readouterr().err
    assert len(Store(trials).names()) == len(records)
    assert (read_grid(tuned).name, carried(read_grid(tuned), tuned)) == ("tuned", (ledger, text))
    assert run_command(["run", str(tuned), "--out", str(out), "--jobs", "1"]) == 0
    place = out / "tuning.json"
    assert place.read_text(encoding="utf-8") == text
    final = Store(out).records()
    started = min(datetime.fromisoformat(record.run["clocks"]["started"]).timestamp() for record in final)
    assert os.stat(place).st_mtime < started + 1  # clocks of records have whole seconds
    assert ledger.finished <= min(record.run["clocks"]["started"] for record in final)
    assert all("tuning" not in record.run for record in final)
    capsys.readouterr()
    assert run_command(["compare", str(out), "--control", "fedmd"]) == 0
    assert "3 trials each, validation, seed 100" in " ".join(capsys.readouterr().out.split())


def in_this_process(
    local: Local, cells: Sequence[Cell], store: Store, options: Options, *, timeout: float | None = None
) -> Iterator[Event]:
    """What `Local.run` does, without the processes that take most of the time of so small runs."""
    assert (local.jobs, timeout) == (1, None)
    for cell in cells:
        yield Event("started", cell)
        yield Event("ended", cell, ending=run_cell(cell, store, replace(options, device="cpu")))


@pytest.mark.slow
def test_tpe_repeated_and_by_data_set_goes_to_a_comparison_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna")
    monkeypatch.setattr(Local, "run", in_this_process)
    grid = tmp_path / "poor.yaml"
    grid.write_text(POOR, encoding="utf-8")
    tune = ["tune", str(grid), "--sampler", "tpe", "--per", "dataset", "--repeat", "2", "--trials", "2"]
    tuned, out = tmp_path / "tuned.yaml", tmp_path / "out"
    places = ["--seeds", "100", "--jobs", "1", "--out", str(tmp_path / "trials"), "--write", str(tuned)]
    assert run_command([*tune, *places]) == 0
    ledger, _ = read_ledger(tmp_path / "tuned.tuning.json")
    assert (ledger.per, ledger.sampler) == ("dataset", "tpe")
    assert [tuning.seeds for tuning in ledger.tunings] == [(100,), (101,)]
    for tuning in ledger.tunings:
        searched = {(search.method, search.places): search for search in tuning.searches}
        assert searched.keys() == {(method, (name,)) for method in ("local", "fedavg") for name in ("digits", "vowel")}
        assert all(len(search.trials) == 2 for search in searched.values())
    assert run_command(["run", str(tuned), "--out", str(out), "--jobs", "1"]) == 0
    chosen = {(one.method, one.places[0]): one.choice.settings["training.lr"] for one in ledger.tunings[0].searches}
    assert len(set(chosen.values())) > 2  # what is chosen differs by data set
    records = Store(out).records()
    rates = {
        (one.label, one.cell["dataset"]): one.cell["method"].get("training", one.cell["training"])["lr"]
        for one in records
    }
    assert rates == chosen
    capsys.readouterr()
    assert run_command(["compare", str(out)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "control fedavg" in said
    assert "2 trials each, validation, seed 100" in said
    assert "choices of 2 tunings with other seeds, the first one used: local on digits: " in said
    for command in ("costs", "clients"):  # they follow the declaration, too
        assert run_command([command, str(out)]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert ("Tuning: 2 trials each" if command == "costs" else "no estimate in 2 of 2 rows") in said
