"""Where some clients are poisoned: a column for the others, and a caution wherever accuracies are read."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fl_bench.benchmarks.commands.run_view import rounds_table
from fl_bench.benchmarks.leaderboard.files import files
from fl_bench.benchmarks.leaderboard.lines import lines
from fl_bench.benchmarks.leaderboard.poisoned import over_poisoned
from fl_bench.benchmarks.report.page import render_page
from fl_bench.benchmarks.statistics.reading import read_records
from fl_bench.benchmarks.tables.results import print_results

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.record import Outcome
    from fl_bench.benchmarks.records.store import Store

    Write = Callable[..., None]

CAUTION = "caution: some clients are poisoned, and accuracy is over all clients, these among them (docs/faults.md)"


@pytest.fixture
def write(store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]) -> Write:
    """Writes a record with its accuracy over all clients, and over the honest ones where some are not."""

    def make(method: str, seed: int, accuracy: float, honest: float | None = None) -> None:
        made = outcome({"client": [1.0, accuracy]})
        column = {} if honest is None else {"client.acc_honest": honest}
        store.write(cell_of(method, seed), replace(made, rounds=[{**row, **column} for row in made.rounds]))

    return make


def test_honest_clients_have_a_column_and_readers_a_caution(store: Store, write: Write, screen, text) -> None:
    for method, honest in (("local", 70.0), ("fedmd", 90.0)):
        write(method, 0, 50.0, honest)
        write(method, 1, 52.0, honest + 2)
    board = lines(store.records())
    assert {line.method: line.acc_honest for line in board} == {"local": 71.0, "fedmd": 91.0}
    heading, fedmd, _ = csv.reader(io.StringIO(files(store.records())["digits.csv"]))
    assert fedmd[heading.index("acc_honest")] == "91.0000"
    assert list(over_poisoned(board).values()) == [CAUTION]
    assert f"digits: {CAUTION}" in read_records(store.records()).notes
    assert f"digits: {CAUTION}" in render_page(
        store.records(), selection="last", comparison=None, obstacle="", pictures=[]
    )
    shown = screen(width=250)
    print_results(shown, board)
    assert CAUTION in " ".join(text(shown).split())
    (row,) = [line.split() for line in text(shown).splitlines() if line.startswith("fedmd")]
    assert row[1:5] == ["51.00", "±", "1.41", "91.00"]
    assert rounds_table(store.records()[0])[-1]["honest %"] in (70.0, 72.0, 90.0, 92.0)


def test_where_everybody_is_honest_tables_are_as_before(store: Store, write: Write, screen, text) -> None:
    write("local", 0, 60.0)
    board = lines(store.records())
    assert over_poisoned(board) == {}
    assert "honest" not in files(store.records())["digits.csv"]
    shown = screen()
    print_results(shown, board)
    assert "honest" not in text(shown)
    assert "poisoned" not in text(shown)
    assert "honest %" not in rounds_table(store.records()[0])[0]
