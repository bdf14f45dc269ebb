"""The ledger goes from beside the tuned grid into the folder of its results, and only there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ledgers
import pytest

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.grid.grid import LedgerReference, expand, read_grid
from fl_bench.benchmarks.tuning.ledger import NAME, sha256
from fl_bench.benchmarks.tuning.travel import carried, leave, ledger_in
from fl_bench.benchmarks.tuning.written import as_text, tuned_grid

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fl_bench.benchmarks.tuning.asked import Asked

WHOLE = ledgers.ledger(
    ledgers.search("local", {"training.lr": 0.02}, 3, places=("digits", "vowel")),
    ledgers.search("fedmd", {"digest_lr": 0.01, "training.lr": 0.02}, 3, places=("digits", "vowel")),
)


@pytest.fixture
def tuned(ask: Callable[..., Asked], tmp_path: Path) -> Path:
    """The file of a tuned grid, with its ledger beside it."""
    (tmp_path / "tuned.tuning.json").write_text(WHOLE.text(), encoding="utf-8")
    reference = LedgerReference("tuned.tuning.json", sha256(WHOLE.text()))
    path = tmp_path / "tuned.yaml"
    path.write_text(as_text(tuned_grid(ask().file, WHOLE, reference), "small"), encoding="utf-8")
    return path


def test_the_tuned_grid_is_the_grid_that_was_tuned(tuned: Path, ask: Callable[..., Asked]) -> None:
    # Trials of these ledgers all have the chosen values, so that nothing changes against the grid's entry.
    before, after = ask().file, read_grid(tuned)
    assert [cell.key for cell in expand(after, "a").cells] == [cell.key for cell in expand(before, "b").cells]
    assert {cell.tuning for cell in expand(after, "a").cells} == {""}  # no part of a record


def test_a_results_folder_gets_the_ledger_as_it_is(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert ledger_in(out) is None
    leave(WHOLE.text(), out)
    assert (out / NAME).read_text(encoding="utf-8") == WHOLE.text()
    assert ledger_in(out) == WHOLE
    leave(WHOLE.text(), out)  # the same again


def test_a_results_folder_has_one_ledger(tuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    leave(ledgers.ledger(ledgers.search("local", {"training.lr": 0.5}, 3)).text(), out)
    assert run_command(["run", str(tuned), "--out", str(out)]) == 2
    assert "is the ledger of another tuning (of the grid small" in capsys.readouterr().err
    assert not list(out.glob("runs/*"))


@pytest.mark.parametrize(
    ("seeds", "code"), [("100", 2), ("0,100", 2), ("2", 0)], ids=["the tuning's", "one of them", "others"]
)
def test_seeds_that_chose_do_not_judge(
    tuned: Path, tmp_path: Path, seeds: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["run", str(tuned), "--seeds", seeds, "--out", str(tmp_path / "out"), "--dry-run"]) == code
    assert ("seed 100 chose the settings of small" in capsys.readouterr().err) is bool(code)


def test_a_ledger_that_was_exchanged_is_refused(tuned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = tuned.with_name("tuned.tuning.json")
    ledger.write_text(WHOLE.text().replace('"seconds": 1.0', '"seconds": 2.0'), encoding="utf-8")
    assert run_command(["run", str(tuned), "--dry-run"]) == 2
    assert "was written with another ledger than" in capsys.readouterr().err
    ledger.unlink()
    assert run_command(["run", str(tuned), "--dry-run"]) == 2
    assert "there is no ledger" in capsys.readouterr().err


def test_words_on_tuning_are_accepted_as_ever(ask: Callable[..., Asked], tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text("name: x\ndatasets: [digits]\nmethods: [local]\nseeds: '0'\ntuning: by hand\n", encoding="utf-8")
    file = read_grid(path)
    assert carried(file, path) is None
    assert {cell.tuning for cell in expand(file, "x").cells} == {"by hand"}
