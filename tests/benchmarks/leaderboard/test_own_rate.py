"""Methods with an optimizer or rate of their own: who counts, when a comparison is cautioned, and what would do."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from fl_bench.benchmarks.commands.run_view import print_record
from fl_bench.benchmarks.grid.grid import Overrides
from fl_bench.benchmarks.leaderboard.files import files
from fl_bench.benchmarks.leaderboard.lines import lines, overall
from fl_bench.benchmarks.leaderboard.own_rate import cautioned, own_rates
from fl_bench.benchmarks.leaderboard.training_rules import is_tuned, planned_rules, recorded_rules, rules_of
from fl_bench.benchmarks.report.board import entries
from fl_bench.benchmarks.report.page import render_page
from fl_bench.benchmarks.statistics.reading import read_records
from fl_bench.benchmarks.tables.results import print_results
from fl_bench.federation.optimizers import Optimizer
from fl_bench.federation.settings import Training
from fl_bench.methods.registry import METHODS

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.grid.grid import Grid
    from fl_bench.benchmarks.leaderboard.training_rules import LocalRules
    from fl_bench.benchmarks.records.record import Outcome
    from fl_bench.benchmarks.records.store import Store

ADAM = Training()
SGD = Training(optimizer="sgd", lr=0.1)
TUNING = "three values of lr per method, by validation accuracy"


def rules(name: str, training: Training = ADAM, *, tuned: bool = False, **settings: Any) -> LocalRules:
    return rules_of(METHODS[name](METHODS[name].config_type(**settings)), training, tuned=tuned)


@pytest.fixture
def write(store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]) -> Callable[..., None]:
    """Writes a record of a method, of a grid with some words on tuning."""

    def make(method: str, tuning: str = "") -> None:
        cell = replace(cell_of(method), tuning=tuning)
        store.write(cell, outcome({"client": [60.0]}))

    return make


def test_four_methods_have_a_rate_of_their_own() -> None:
    own = {name: found.own for name in METHODS.names() if (found := rules(name)).own}
    assert own == {
        "pfedhn": "sgd 0.005, momentum 0.9, decay 5e-05 (pfedhn.inner_lr)",
        "pfedme": "sgd 0.09, decay 0.001 (pfedme.personal_lr) and sgd 0.5 (pfedme.lr)",
        "scaffold": "sgd 0.1 (scaffold.lr)",
    }
    assert rules("fedrod", head="generated").own == "sgd 0.1 (fedrod.hyper_lr)"  # the hyper-network's alone
    assert str(rules("fedrod", head="generated")) == "adam 0.001 (training.lr) and sgd 0.1 (fedrod.hyper_lr)"


def test_what_equals_the_run_s_is_not_a_method_s_own() -> None:
    assert rules("scaffold", SGD).own == ""
    assert rules("scaffold", replace(SGD, momentum=0.9)).own == "sgd 0.1 (scaffold.lr)"
    assert rules("pfedhn", inner_optimizer="run").own == ""
    like_theta = Training(optimizer="sgd", lr=0.09, weight_decay=0.001)
    assert rules("pfedme", like_theta).own == "sgd 0.5 (pfedme.lr)"


def test_a_caution_names_methods_rates_and_what_would_do() -> None:
    assert own_rates({"local": rules("local"), "fedavg": rules("fedavg"), "scaffold": rules("scaffold")}) == (
        "caution: own rate: clients train at rates that are not equal and were not tuned, so that differences may be "
        "the rates': scaffold with sgd 0.1 (scaffold.lr); local, fedavg with adam 0.001 (training.lr). What would do: "
        "train all with -o training.optimizer=sgd -o training.lr=0.1, or tune the rate of every method and say so in "
        "the grid's `tuning`"
    )
    slower = replace(SGD, lr=0.01)  # of the same kind: then the method's setting may follow, too
    caution = own_rates({"fedavg": rules("fedavg", slower), "scaffold": rules("scaffold", slower)})
    assert "train all with -o training.lr=0.1, or set scaffold.lr to 0.01, or tune the rate" in caution
    many = ("pfedme", "scaffold", "pfedhn", "fedavg", "local", "ditto", "cfl", "ifca")
    caution = own_rates({name: rules(name) for name in many})
    assert "; the others with adam 0.001 (training.lr). What would do: tune the rate of every method" in caution
    assert caution.count("adam") == 1


@pytest.mark.parametrize(
    "fair",
    [
        {"fedavg": rules("fedavg"), "local": rules("local")},
        {"fedavg": rules("fedavg", SGD), "scaffold": rules("scaffold", SGD)},
        {"scaffold": rules("scaffold")},
        {"scaffold": rules("scaffold"), "scaffold[lr=0.01]": rules("scaffold", lr=0.01)},
        {"fedavg": rules("fedavg", tuned=True), "scaffold": rules("scaffold", tuned=True)},
        {"theirs": None, "scaffold": rules("scaffold")},
        {},
    ],
    ids=["one rate", "set equal", "alone", "variants of one method", "tuned", "nothing known of the other", "none"],
)
def test_no_caution(fair: dict[str, LocalRules | None]) -> None:
    assert own_rates(fair) == ""


def test_tuning_one_of_two_is_not_enough_and_the_tuned_pair_is_left_out() -> None:
    caution = own_rates({"fedavg": rules("fedavg"), "scaffold": rules("scaffold", tuned=True)})
    assert "are not equal and were not all tuned" in caution
    three = {"fedavg": rules("fedavg", tuned=True), "scaffold": rules("scaffold", tuned=True), "local": rules("local")}
    assert "scaffold with sgd 0.1 (scaffold.lr); local with adam" in own_rates(three)


@pytest.mark.parametrize(
    ("words", "tuned"),
    [
        (TUNING, True),
        ("uniform search over lr", True),
        ("no value twice: five of lr", True),
        ("", False),
        ("  ", False),
        ("none", False),
        ("Not tuned, defaults.", False),
        ("untuned defaults", False),
        ("no", False),
    ],
)
def test_words_that_say_there_was_no_tuning(words: str, tuned: bool) -> None:
    assert is_tuned(words) is tuned


def test_a_grid_s_words_reach_its_cells(small_grid: Callable[..., Grid]) -> None:
    cells = small_grid(methods=("fedavg", "scaffold"), tuning=TUNING).cells
    assert [planned_rules(cell).tuned for cell in cells] == [True, True]
    changed = small_grid(Overrides(methods="scaffold[lr=0.2]"), methods=("scaffold",), tuning=TUNING).cells
    assert [str(planned_rules(cell)) for cell in changed] == ["sgd 0.2 (scaffold.lr)"]
    assert not planned_rules(changed[0]).tuned


def test_records_say_it_wherever_they_are_read(store: Store, write: Callable[..., None], screen, text) -> None:
    write("fedavg")
    write("scaffold")
    records = store.records()
    board = lines(records)
    (caution,) = cautioned(board)
    assert caution.startswith("caution: own rate: ")
    assert caution in read_records(records).notes
    shown = screen(width=80)
    print_results(shown, board)
    table = " ".join(text(shown).split())
    assert "scaffold † 60.00" in table
    assert "fedavg †" not in table
    assert "† scaffold: own rate, sgd 0.1 (scaffold.lr)" in table
    assert caution in table
    assert {entry.method: entry.badges for entry in entries(records, "last")} == {
        "fedavg": (),
        "scaffold": ("own rate: sgd 0.1 (scaffold.lr)",),
    }
    page = render_page(records, selection="last", comparison=None, obstacle="none", pictures=[])
    assert "own rate: clients train at rates that are not equal" in page
    assert "Compare it with others where rates were tuned or set equal. Carried by scaffold." in page
    one = screen(width=400)
    (scaffold,) = (record for record in records if record.label == "scaffold")
    print_record(one, scaffold)
    assert "own rate: sgd 0.1 (scaffold.lr)" in text(one)


def test_tuned_records_carry_the_mark_and_no_caution(store: Store, write: Callable[..., None]) -> None:
    write("fedavg", TUNING)
    write("scaffold", TUNING)
    board = lines(store.records())
    assert cautioned(board) == []
    assert [line.trained_with.own for line in board if line.trained_with] == ["", "sgd 0.1 (scaffold.lr)"]


def test_training_of_its_own_is_said_wherever_records_are_read(
    store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome], screen, text
) -> None:
    store.write(cell_of("local"), outcome({"client": [60.0]}))
    own = (("local_epochs", 3), ("lr", 0.02))
    store.write(replace(cell_of("fedavg"), own_training=own), outcome({"client": [60.0]}))
    records = store.records()
    board = lines(records)
    assert len({line.setting for line in board}) == 1  # one comparison all the same
    (fedavg,) = (line.trained_with for line in board if line.method == "fedavg")
    assert fedavg is not None
    assert (fedavg.own, fedavg.own_steps) == ("adam 0.02 (training.lr)", "3 local epochs (1)")
    (caution,) = cautioned(board)
    assert "fedavg with adam 0.02 (training.lr)" in caution
    shown = screen(width=80)
    print_results(shown, board)
    table = " ".join(text(shown).split())
    assert "fedavg † ‡ 60.00" in table
    assert "‡ fedavg: own steps, 3 local epochs (1)" in table
    badges = {entry.method: entry.badges for entry in entries(records, "last")}
    assert badges["fedavg"] == ("own rate: adam 0.02 (training.lr)", "own steps: 3 local epochs (1)")
    assert "adam 0.02 (training.lr), 3 local epochs (1)" in files(records)["digits.csv"]
    one = screen(width=400)
    (record,) = (record for record in records if record.label == "fedavg")
    print_record(one, record)
    assert "training.local_epochs=3, training.lr=0.02" in text(one)
    assert "own steps: 3 local epochs (1)" in text(one)


def test_files_have_a_column_where_a_method_needs_it(store: Store, write: Callable[..., None]) -> None:
    write("fedavg")
    for table in files(store.records()).values():
        assert "trained_with" not in table
    write("scaffold")
    for name, table in files(store.records()).items():
        column = [row["trained_with"] for row in csv.DictReader(io.StringIO(table))]
        assert column == ["adam 0.001 (training.lr)", "sgd 0.1 (scaffold.lr)"], name
    assert [line.trained_with and line.trained_with.method for line in overall(lines(store.records()))] == [
        "fedavg",
        "scaffold",
    ]


def test_nothing_is_claimed_of_methods_that_are_not_at_hand(store: Store, write: Callable[..., None]) -> None:
    write("scaffold")
    (record,) = store.records()
    assert str(recorded_rules([record])) == "sgd 0.1 (scaffold.lr)"
    settings = dict(record.cell["method"]["settings"])
    older = {name: value for name, value in settings.items() if name != "option"}
    for change in (
        {"name": "theirs"},
        {"plugin": "0123456789"},
        {"settings": {**settings, "gone": 1}},
        {"settings": older},
    ):
        method = {**record.cell["method"], **change}
        assert recorded_rules([replace(record, run={**record.run, "cell": {**record.cell, "method": method}})]) is None


def test_rules_in_words() -> None:
    assert str(Optimizer("adam", 1e-3)) == "adam 0.001"
    assert str(Optimizer("sgd", 0.1, 0.9, 5e-5, "cosine")) == "sgd 0.1, momentum 0.9, decay 5e-05, cosine"
