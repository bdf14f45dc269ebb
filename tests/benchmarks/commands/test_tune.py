"""`fl-bench tune`: the plan before anything runs, what is refused, and a real tuning from the grid to a comparison."""

from __future__ import annotations

import json
import os
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.grid.grid import read_grid
from fl_bench.benchmarks.records.store import Store
from fl_bench.benchmarks.running.forecast import fixed_seconds
from fl_bench.benchmarks.tuning.ledger import read_ledger
from fl_bench.benchmarks.tuning.travel import carried

if TYPE_CHECKING:
    from pathlib import Path

GRID = """\
name: tiny
datasets: [digits]
partition: {scheme: latent-groups, clients: 5, groups: 5, min_test: 5, val_fraction: 0.2, max_train: 400}
models: [mlp-8]
training: {rounds: 2, local_epochs: 2, lr: 5e-3}
methods: [local, fedmd]
seeds: 0-1
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
    assert min(each) > 2 * fixed_seconds(2)  # two seeds, two rounds: the steps of so small a net take no time
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
    assert carried(read_grid(tuned), tuned) == (ledger, text)
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
