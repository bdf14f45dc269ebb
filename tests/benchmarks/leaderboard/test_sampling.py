"""Where few clients take part: columns that show who decides, and a caution where it is those who never did."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fl_bench.benchmarks.commands.run_view import rounds_table
from fl_bench.benchmarks.leaderboard.files import files
from fl_bench.benchmarks.leaderboard.lines import lines
from fl_bench.benchmarks.leaderboard.sampling import decided_by_new
from fl_bench.benchmarks.statistics.reading import read_records
from fl_bench.benchmarks.tables.results import print_results

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.record import Outcome
    from fl_bench.benchmarks.records.store import Store

    Write = Callable[..., None]


@pytest.fixture
def write(store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]) -> Write:
    """Writes a record with its accuracy over all clients, over those drawn and over the others (None: not counted)."""

    def make(method: str, seed: int, accuracy: float, *parts: float | None) -> None:
        made = outcome({"client": [1.0, accuracy]})
        columns = dict(zip(("client.acc_drawn", "client.acc_new"), parts, strict=False))
        store.write(cell_of(method, seed), replace(made, rounds=[{**row, **columns} for row in made.rounds]))

    return make


def test_lines_average_both_over_seeds(store: Store, write: Write) -> None:
    write("local", 0, 60.0, 70.0, 20.0)
    write("local", 1, 62.0, 62.0, None)  # everybody was drawn
    write("fedmd", 0, 50.0)  # a record from before it was counted
    drawn = {line.method: (line.acc_drawn, line.acc_new) for line in lines(store.records())}
    assert drawn == {"local": (66.0, 20.0), "fedmd": (None, None)}
    heading, fedmd, local = csv.reader(io.StringIO(files(store.records())["digits.csv"]))
    place = heading.index("acc_drawn")
    assert heading[place + 1] == "acc_new"
    assert (fedmd[place : place + 2], local[place : place + 2]) == (["", ""], ["66.0000", "20.0000"])
    assert "acc_drawn" not in files(store.records())["overall.csv"]


def test_tables_of_full_participation_are_as_before(store: Store, write: Write, screen, text) -> None:
    write("local", 0, 60.0)
    before = files(store.records())
    write("fedmd", 0, 50.0)
    assert [line.split(",")[0:1] for line in before["digits.csv"].splitlines()] == [["dataset"], ["digits"]]
    write("cosmos", 0, 61.0, 61.0, None)
    after = files(store.records())["digits.csv"].splitlines()
    assert after[0] == before["digits.csv"].splitlines()[0]
    assert "acc_drawn" not in after[0]
    shown = screen()
    print_results(shown, lines(store.records()))
    assert "took part" not in text(shown)
    assert "took part %" not in rounds_table(store.records()[0])[0]


def test_a_caution_where_those_who_never_took_part_decide(store: Store, write: Write, screen, text) -> None:
    write("local", 0, 70.0, 90.0, 30.0)
    write("fedmd", 0, 80.0, 85.0, 70.0)  # above local over all clients, below over those drawn
    write("cosmos", 0, 60.0, 80.0, 20.0)  # below both, either way
    board = lines(store.records())
    board.append(replace(board[0], view="global", deployed=False, acc_mean=99.0, acc_drawn=1.0))  # not the method's
    (caution,) = decided_by_new(board).values()
    assert caution == (
        "caution: clients who never took part decide the order of one pair of methods (fedmd is 10.00 points above "
        "local over all clients and 5.00 below over those that took part)"
    )
    assert read_records(store.records()).notes[0] == f"digits: {caution}"
    assert not any(
        "never took part" in note for note in read_records(store.records(), methods=["fedmd", "cosmos"]).notes
    )
    shown = screen(width=250)
    print_results(shown, board)
    assert caution in " ".join(text(shown).split())
    (row,) = [line.split() for line in text(shown).splitlines() if line.startswith("fedmd")]
    assert row[1:4] == ["80.00", "85.00", "70.00"]
    seen = {record.label: rounds_table(record)[-1] for record in store.records()}["fedmd"]
    assert (seen["took part %"], seen["never %"]) == (85.0, 70.0)


def test_the_clearest_pairs_are_named_and_equal_methods_are_none(store: Store, write: Write) -> None:
    # Over all clients a > b > c > d by 4, 3 and 2 points; over those drawn a = 50, b = 50, c = 56, d = 51.
    for method, numbers in {
        "local": (70.0, 50.0, 90.0),
        "fedmd": (66.0, 50.0, 80.0),
        "cosmos": (63.0, 56.0, 70.0),
        "fedavg": (61.0, 51.0, 70.0),
        "dsfl": (61.0, 51.5, 70.0),  # level with fedavg over all clients: no order that anybody decides
    }.items():
        write(method, 0, *numbers)
    (caution,) = decided_by_new(lines(store.records())).values()
    assert "the order of 7 pairs of methods" in caution
    named = caution.partition("(")[2].split("; ")
    assert [part.split()[0] + " " + part.split()[5] for part in named[:3]] == [
        "local cosmos",  # 7 above, 6 below: the smaller is 6
        "fedmd cosmos",  # 3 above, 6 below
        "fedmd dsfl",  # 5 above, 1.5 below, as local, which comes later by its name, is 9 above and 1.5 below dsfl
    ]
    assert named[3] == "and 4 more)"
