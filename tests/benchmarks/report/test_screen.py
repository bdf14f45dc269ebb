"""The page of one screen: it says what was asked, of what, and what was found, and nothing that nobody declared."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.grid.declaration import Declaration
from fl_bench.benchmarks.records.declarations import Declared, declare
from fl_bench.benchmarks.tuning.ledger import GridReference, Ledger, Search, Trial, Tuning

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.record import Outcome
    from fl_bench.benchmarks.records.store import Store

DATASETS = ("fashion-mnist", "letter", "marketing", "penbased", "satimage", "segment", "texture")
AHEAD = {"cosmos": [0.0] * 7, "local": [-4, -5, -6, -4, -5, -6, -5], "ditto": [2, 3, 4, 2, 3, 4, 3]}
AHEAD |= {"fedmd": [2, -2, 3, -3, 1, -1, 0], "fedavg": [9, 9, 8, 9, 9, 8, 9]}
"""Points ahead of COSMOS on each data set."""

MEANT = Declaration("cosmos", ("local", "ditto", "fedmd"), bounds=("fedavg",), datasets=DATASETS, seeds=(0,))
DECLARED = Declared("small", "0" * 64, "2025-12-31T00:00:00+00:00", 0, 35, MEANT, "Does COSMOS win?")


@pytest.fixture
def undeclared(store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]) -> Path:
    """Five methods on seven data sets, one seed; tuned, all but `ditto`."""
    for method, ahead in AHEAD.items():
        for dataset, points in zip(DATASETS, ahead, strict=True):
            store.write(cell_of(method, datasets=(dataset,)), outcome({"client": [50.0, 80.0 + points]}))
    searches = tuple(
        Search(name, name, DATASETS, {}, {}, (_trial(),), 0, (50.0,), exhausted=True)
        for name in AHEAD
        if name != "ditto"
    )
    ledger = Ledger(
        1, GridReference("small", "0" * 64), "grid", "random", 8, (0,), (Tuning((100,), searches),), "then", "later", ()
    )
    (store.results / "tuning.json").write_text(ledger.text(), encoding="utf-8")
    return store.results


@pytest.fixture
def results(undeclared: Path, store: Store) -> Path:
    declare(store, DECLARED)
    return undeclared


def _trial() -> Trial:
    return Trial(0, {}, "done", {dataset: {"100": 50.0} for dataset in DATASETS}, 1.0, 1, 1)


def page_of(results: Path, *more: str) -> str:
    assert run_command(["compare", str(results), "--page", *more]) == 0
    return (results / "README.md").read_text(encoding="utf-8")


def test_what_was_asked_of_what_and_what_was_found(results: Path) -> None:
    (results / "note.md").write_text("Read with *care*.\n", encoding="utf-8")
    page = page_of(results)
    title, _, question, note, *_ = page.split("\n\n")
    assert (title, question, note) == (f"# {results.name}", "**Does COSMOS win?**", "Read with *care*.")
    assert f"| data | 7 data sets: {', '.join(DATASETS)} |" in page
    assert "| clients | 5 clients, 2 rounds: mlp-8, latent-groups |" in page
    assert "| seeds | 0 |" in page
    assert "| numbers | the last round, of 35 runs |" in page
    assert (
        "| tuning | unequal tuning, validation, seed 100: 8 trials: cosmos, fedavg, fedmd, local; 0 trials: ditto |"
        in page
    )
    assert "declared before its first run, by the grid small at 2025-12-31T00:00:00+00:00; level .05" in page
    # Seven differences of one sign: p = 2/2^7 = .0156, times 3 is .047. Their Walsh averages have the medians -5 and 3.
    assert "- **Clearly worse than cosmos:** local -5.00 (" in page
    assert "- **Clearly better than cosmos:** ditto (unequal tuning: 0 trials against 8) +3.00 (" in page
    assert "- **Undecided against cosmos:** fedmd +0.00" in page
    assert "\n- bounds: clearly better than cosmos: fedavg +9.00 (" in page
    appendix = (results / "appendix.md").read_text(encoding="utf-8")
    assert "## Against cosmos" in appendix
    assert "- not as declared" not in page
    assert "![Every method against cosmos, with intervals](effects.svg)" in page
    assert ">bounds<" in (results / "effects.svg").read_text(encoding="utf-8")
    assert len(page.splitlines()) <= 40


def test_the_same_bytes_again_also_elsewhere(results: Path, tmp_path: Path) -> None:
    page_of(results)
    names = ("README.md", "appendix.md", "effects.svg")
    first = [(results / name).read_bytes() for name in names]
    page_of(results)
    page_of(results, "--out", str(tmp_path / "other"))
    assert [(results / name).read_bytes() for name in names] == first
    assert [(tmp_path / "other" / name).read_bytes() for name in names] == first


def test_nothing_is_ranked_that_nobody_declared(undeclared: Path) -> None:
    assert "not declared before the runs" in page_of(undeclared, "--control", "cosmos")
    assert (undeclared / "appendix.md").exists()
    page = page_of(undeclared)
    assert "No comparison was declared for these runs" in page
    assert "Clearly" not in page
    assert not (undeclared / "appendix.md").exists()
    assert not (undeclared / "effects.svg").exists()


def test_what_is_done_otherwise_than_declared_is_said(results: Path) -> None:
    page = page_of(results, "--methods", "cosmos,local")
    assert "not as declared: 3 methods left out (ditto, fedmd, fedavg)" in page
    assert "(signed rank, 1 of 3 declared tests)" in page
    assert "\n- **Undecided against cosmos:** none" in page
    assert "bounds" not in page
    assert "the last round, of 14 runs |" in page  # two methods on seven data sets


def test_a_page_that_a_person_wrote_stays(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = results / "README.md"
    mine.write_text("# Mine\n", encoding="utf-8")
    assert run_command(["compare", str(results), "--page"]) == 2
    assert "`compare --page` did not write it; move its words into note.md" in " ".join(capsys.readouterr().err.split())
    assert mine.read_text(encoding="utf-8") == "# Mine\n"
    assert not (results / "appendix.md").exists()


def test_a_gap_is_named_and_nothing_claimed(results: Path) -> None:
    (run,) = (results / "runs" / "segment").glob("fedmd-*")
    for file in run.iterdir():
        file.unlink()
    run.rmdir()
    page = page_of(results)
    assert "Nothing is compared:\n\n    the table is incomplete" in page
    assert "\n      segment, seed 0, missing: fedmd\n" in page
    assert "Clearly" not in page


def test_a_folder_called_like_a_grid_of_ours_has_its_question(undeclared: Path, tmp_path: Path) -> None:
    named = undeclared.rename(tmp_path / "offline-mixed")
    assert "**Does COSMOS beat methods that need not average weights" in page_of(named)
    other = named.rename(tmp_path / "people-default")  # a grid with other data sets: the folder is somebody's own
    assert "**Does" not in page_of(other)


def test_a_question_that_was_declared_counts(undeclared: Path, store: Store, tmp_path: Path) -> None:
    declare(store, replace(DECLARED, question=""))
    assert "**Does" not in page_of(undeclared)
    declare(store, replace(DECLARED, comparison=replace(MEANT, rope=2.0)))
    assert "**Does COSMOS win?**" in page_of(undeclared)


def test_a_table_of_numbers_has_no_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "table.csv"
    path.write_text("dataset,a,b\nd,1,2\n", encoding="utf-8")
    assert run_command(["compare", str(path), "--page"]) == 2
    assert "--page describes runs" in capsys.readouterr().err
