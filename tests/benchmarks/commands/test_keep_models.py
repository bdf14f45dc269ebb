"""`fl-bench run --keep-models`: what it comes too late for is named, and what cannot keep any is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.grid.grid import expand, read_grid
from fl_bench.benchmarks.records.models import MODELS
from fl_bench.benchmarks.running.runner import Options, run_cell

if TYPE_CHECKING:
    from pathlib import Path

    from fl_bench.benchmarks.records.store import Store

GRID = {
    "name": "small",
    "datasets": ["digits"],
    "partition": {"clients": 5, "groups": 5, "min_test": 5},
    "models": ["mlp-8"],
    "training": {"rounds": 1},
    "methods": ["local", "fedavg"],
    "seeds": [0],
}


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(GRID))
    return path


def test_runs_that_finished_without_keeping_models_are_counted(
    grid: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = expand(read_grid(grid), str(grid)).cells
    run_cell(first, store, Options())
    kept = run_cell(second, store, Options(keep_models=True))
    assert (kept.folder / MODELS).is_file()
    command = ["run", str(grid), "--out", str(store.results)]
    assert run_command([*command, "--keep-models"]) == 0
    assert "1 run finished earlier without keeping models; `run --force` runs" in " ".join(
        capsys.readouterr().err.split()
    )
    assert run_command(command) == 0
    assert "without keeping models" not in " ".join(capsys.readouterr().err.split())


def test_an_executor_that_shares_no_folder_is_refused(grid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["run", str(grid), "--keep-models", "--executor", "subprocess[jobs=1]"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "those of --executor subprocess[jobs=1] send records only; use local or slurm" in said
