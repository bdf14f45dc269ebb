"""What attacks found is told beside accuracy: in files, tables and a figure, and not where nobody was attacked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fl_bench.benchmarks.figures import leakage
from fl_bench.benchmarks.figures.blocks import read_blocks
from fl_bench.benchmarks.figures.gallery import from_blocks
from fl_bench.benchmarks.leaderboard.files import files
from fl_bench.benchmarks.leaderboard.lines import LEAKS, lines
from fl_bench.benchmarks.tables.results import print_results

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.record import Outcome
    from fl_bench.benchmarks.records.store import Store

NOTHING: dict[str, float | None] = dict.fromkeys(LEAKS)
FOUND: dict[str, float | None] = {
    "leak_labels": 0.21,
    "leak_labels_prior": 0.73,
    "leak_membership": 0.56,
    "leak_membership_tpr": 0.034,
}


@pytest.fixture
def write(store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]) -> Callable[..., None]:
    """Writes a record of a method; what attacks found stands in its last round, as runs have it."""

    def make(method: str, found: dict[str, float | None], seed: int = 0) -> None:
        made = outcome({"client": [50.0, 60.0 + seed]})
        first, last = made.rounds
        store.write(cell_of(method, seed=seed), replace(made, rounds=[first, {**last, **found}]))

    return make


def test_lines_have_the_mean_over_seeds(store: Store, write: Callable[..., None]) -> None:
    write("local", NOTHING)
    write("fedmd", FOUND)
    write("fedmd", {**FOUND, "leak_membership": 0.58}, seed=1)
    local, fedmd = sorted(lines(store.records()), key=lambda line: line.method, reverse=True)
    assert (local.leak_membership, local.leak_labels) == (None, None)
    assert fedmd.leak_membership == pytest.approx(0.57)
    assert (fedmd.leak_labels, fedmd.leak_labels_prior) == (0.21, 0.73)


def test_files_have_columns_only_where_somebody_was_attacked(store: Store, write: Callable[..., None]) -> None:
    write("local", {})
    assert "leak" not in files(store.records())["digits.csv"]
    write("fedmd", FOUND)
    heading, *_ = files(store.records())["digits.csv"].splitlines()
    assert set(LEAKS) <= set(heading.split(","))


def test_a_table_of_its_own_says_it(store: Store, write: Callable[..., None], screen, text) -> None:
    write("local", NOTHING)
    shown = screen(width=80)
    print_results(shown, lines(store.records()))
    assert "curious" not in text(shown)
    write("fedmd", FOUND)
    shown = screen(width=80)
    print_results(shown, lines(store.records()))
    table = text(shown).partition("curious server learns")[2]
    assert "0.21" in table
    assert "0.56" in table
    assert "3.4 %" in table
    assert all(len(line) <= 80 for line in table.splitlines())


def test_the_figure_has_methods_that_were_attacked(store: Store, write: Callable[..., None]) -> None:
    write("local", NOTHING)
    (block,) = read_blocks(store.records())
    assert leakage.read_leaks(block) == []
    assert "leakage" not in {drawing.kind for drawing in from_blocks([block])}
    write("fedmd", FOUND)
    (block,) = read_blocks(store.records())
    (leak,) = leakage.read_leaks(block)
    assert (leak.label, leak.accuracy) == ("fedmd", (60.0,))
    assert leak.found == {"leak_membership": (0.56,), "leak_labels": (0.21,)}
    assert leak.nothing == {"leak_membership": 0.5, "leak_labels": 0.73}
    (drawing,) = (drawing for drawing in from_blocks([block]) if drawing.kind == "leakage")
    assert drawing.draw() is not None
