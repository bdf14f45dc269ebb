"""`fl-bench costs` and `fl-bench clients`, on records made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.figures.gallery import KINDS
from fl_bench.benchmarks.grid.cell import Cell
from fl_bench.benchmarks.records.record import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from fl_bench.benchmarks.records.store import Store

MakeCell = Callable[..., Cell]
MakeOutcome = Callable[..., Outcome]


@pytest.fixture
def results(store: Store, tmp_path: Path, cell_of: MakeCell, outcome: MakeOutcome) -> Path:
    """fedmd is ahead of local by 10, 12 and 14 points over three seeds, in twice the time."""
    for seed, lead in enumerate((10.0, 12.0, 14.0)):
        for method, accuracy in (("fedmd", 60.0 + lead), ("local", 60.0)):
            made = outcome({"client": [0.0, accuracy]}, seconds=2.0 if method == "fedmd" else 1.0)
            rows = [
                {"round": at, "client": client, "client.acc": accuracy + shift}
                for at in (0, 1)
                for client, shift in enumerate((-1.0, 1.0) if method == "fedmd" else (-0.5, 0.5))
            ]
            store.write(cell_of(method, seed), replace(made, clients=rows))
    return tmp_path / "results"


def test_costs(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["costs", str(results), "--control", "fedmd"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "local -12.00 x 1 x 0.5" in text
    assert "over 1 family of data sets, too few for an interval" in text
    assert run_command(["costs", str(results), "--control", "fedmd", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["seconds"] == {"value": 0.5, "low": None, "high": None}


def test_clients(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Clients are dealt anew, so seeds are the sample: means of 10, 12 and 14, Student's t of two degrees at .05: 4.303
    # times 2 / sqrt(3) is 4.97.
    assert run_command(["clients", str(results), "--control", "fedmd"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "digits local 3 2 (dealt anew) -12.00 -16.97 to -7.03" in text
    assert run_command(["clients", str(results), "--control", "fedmd", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["same_clients"] is False
    assert row["found"]["degrees"] == pytest.approx(2.0, abs=1e-3)


def test_a_control_that_is_not_there(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("costs", "clients"):
        assert run_command([command, str(results), "--control", "fedmdd"]) == 2
        assert "no method of this comparison is named 'fedmdd'; did you mean 'fedmd'?" in capsys.readouterr().err


def test_one_seed_tells_nothing_of_other_clients(
    store: Store, tmp_path: Path, cell_of: MakeCell, outcome: MakeOutcome, capsys: pytest.CaptureFixture[str]
) -> None:
    for method in ("fedmd", "local"):
        rows = [{"round": at, "client": client, "client.acc": 50.0} for at in (0, 1) for client in (0, 1)]
        store.write(cell_of(method), replace(outcome({"client": [0.0, 50.0]}), clients=rows))
    assert run_command(["clients", str(tmp_path / "results"), "--control", "fedmd"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "no estimate in 1 of 1 row: the model takes 3 seeds at least" in text
    assert "REML" not in text


def test_the_help_names_every_kind_of_figure(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["figures", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"{', '.join(KINDS)}." in text
