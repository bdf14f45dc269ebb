"""Exit codes are the same for the same thing in every command, and a run without a number says why, once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.commands.options import FAILED, STOPPED, WRONG
from fl_bench.benchmarks.records.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.grid.grid import Grid
    from fl_bench.benchmarks.records.record import Outcome

ROOT = Path(__file__).parents[3]
FOLDER = Path("fl-bench-results")

READING = {
    "leaderboard": (),
    "compare": ("--on-missing", "complete-blocks", "--control", "local"),
    "power": ("--control", "local"),
    "costs": ("--control", "local"),
    "report": ("--no-figures",),
    "pack": (),
    "fsck": (),
}
NO_RECORDS = (*READING, "clients", "contraction", "figures", "unpack")


@pytest.fixture(autouse=True)
def _workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def filled(small_grid: Callable[..., Grid], outcome: Callable[..., Outcome]) -> Store:
    """Two methods on two data sets with three seeds, all done."""
    store = Store(FOLDER)
    for cell in small_grid(datasets=("digits", "optdigits"), seeds=(0, 1, 2)).cells:
        store.write(cell, outcome({"client": [50.0, 50.0 + (cell.method == "fedmd") * (1 + cell.seed)]}))
    return store


def test_the_documented_codes_are_the_ones_there_are() -> None:
    text = (ROOT / "docs" / "how-to.md").read_text(encoding="utf-8").partition("## Use exit codes in a script")[2]
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)] == [0, FAILED, WRONG, STOPPED]


@pytest.mark.parametrize("command", NO_RECORDS)
def test_no_records_is_2(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    assert run_command([command]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")


@pytest.mark.parametrize("command", ["show x", "rm x --yes"])
def test_a_run_that_is_not_there_is_2(command: str, filled: Store, capsys: pytest.CaptureFixture[str]) -> None:
    del filled
    assert run_command(command.split()) == 2
    assert "no record is named 'x'" in capsys.readouterr().err


def test_sound_records_are_0_and_a_damaged_one_is_1(filled: Store, capsys: pytest.CaptureFixture[str]) -> None:
    for code in (0, 1):
        for command, options in READING.items():
            assert run_command([command, *options]) == code, f"{command}: {capsys.readouterr().err}"
        (bad,) = filled.runs.glob("digits/fedmd-1-*")
        (bad / "run.json").write_text("{")
        (FOLDER / "records.tar.xz").unlink()
        capsys.readouterr()
    assert run_command(["rm", "digits/fedmd-1", "--yes"]) == 0
    assert "  digits/fedmd-1" in capsys.readouterr().err
    assert run_command(["fsck"]) == 0


def test_what_cannot_be_compared_is_2(filled: Store, capsys: pytest.CaptureFixture[str]) -> None:
    (gone,) = filled.runs.glob("digits/fedmd-1-*")
    assert run_command(["rm", gone.name, "--yes"]) == 0
    assert run_command(["compare"]) == 2
    assert "fedmd" in capsys.readouterr().err


@pytest.mark.parametrize(("status", "code"), [("unsupported", 0), ("diverged", 0), ("failed", 1), ("timeout", 1)])
def test_a_run_without_a_number_says_why_once(
    status: str,
    code: int,
    cell_of: Callable[..., Cell],
    outcome: Callable[..., Outcome],
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("grid.yaml").write_text(
        "name: small\ndatasets: [digits]\npartition: {clients: 5, groups: 5, min_test: 5}\nmodels: [mlp-8]\n"
        "training: {rounds: 2}\nmethods: [local, fedmd]\nseeds: 0-1\n"
    )
    store = Store(FOLDER)
    for seed, reason in enumerate(("needs public data", None)):
        store.write(cell_of("local", seed), outcome({"client": [50.0]}))
        store.write(cell_of("fedmd", seed), outcome(status=status, reason=reason))
    for seed in (2, 3):
        store.write(cell_of("fedmd", seed), outcome(status=status, reason="needs public data"))
    assert run_command(["run", "grid.yaml", "--device", "cpu"]) == code
    said = capsys.readouterr().err
    name = cell_of("fedmd").folder
    assert said.count(f"{status}: fl-bench-results/runs/{name}: needs public data\n") == 1
    assert f"{cell_of('fedmd', 1).folder}: no reason is on record\n" in said
    assert run_command(["leaderboard"]) == 0
    again = f"{status}: fl-bench-results/runs/{name}: needs public data (and so 2 more: fedmd on digits)\n"
    assert again in capsys.readouterr().err
    assert run_command(["compare"]) == 2
    assert again in capsys.readouterr().err
