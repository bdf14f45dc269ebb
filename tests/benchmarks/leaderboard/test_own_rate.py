"""Methods with an optimizer or rate of their own: who counts, when a comparison is cautioned, and what would do."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ledgers
import pytest

from fl_bench.benchmarks.commands.run_view import print_record
from fl_bench.benchmarks.grid.grid import Overrides
from fl_bench.benchmarks.leaderboard.files import files
from fl_bench.benchmarks.leaderboard.lines import lines, overall
from fl_bench.benchmarks.leaderboard.own_rate import cautioned, own_rates
from fl_bench.benchmarks.leaderboard.training_rules import planned_rules, recorded_rules, rules_of
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
LEDGER = ledgers.ledger(
    ledgers.search("fedavg", {"training.lr": 0.001}, 3),
    ledgers.search("scaffold", {"lr": 0.1, "training.lr": 0.001}, 3),
)


def rules(name: str, training: Training = ADAM, *, trials: int = 0, **settings: Any) -> LocalRules:
    return rules_of(METHODS[name](METHODS[name].config_type(**settings)), training, trials=trials)


@pytest.fixture
def write(store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]) -> Callable[..., None]:
    """Writes a record of a method."""

    def make(method: str) -> None:
        store.write(cell_of(method), outcome({"client": [60.0]}))

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
        "train all with -o training.optimizer=sgd -o training.lr=0.1, or tune every method (`fl-bench tune`)"
    )
    slower = replace(SGD, lr=0.01)  # of the same kind: then the method's setting may follow, too
    caution = own_rates({"fedavg": rules("fedavg", slower), "scaffold": rules("scaffold", slower)})
    assert "train all with -o training.lr=0.1, or set scaffold.lr to 0.01, or tune every method" in caution
    many = ("pfedme", "scaffold", "pfedhn", "fedavg", "local", "ditto", "cfl", "ifca")
    caution = own_rates({name: rules(name) for name in many})
    assert "; the others with adam 0.001 (training.lr). What would do: tune every method (`fl-bench tune`)" in caution
    assert caution.count("adam") == 1


@pytest.mark.parametrize(
    "fair",
    [
        {"fedavg": rules("fedavg"), "local": rules("local")},
        {"fedavg": rules("fedavg", SGD), "scaffold": rules("scaffold", SGD)},
        {"scaffold": rules("scaffold")},
        {"scaffold": rules("scaffold"), "scaffold[lr=0.01]": rules("scaffold", lr=0.01)},
        {"fedavg": rules("fedavg", trials=8), "scaffold": rules("scaffold", trials=8)},
        {"theirs": None, "scaffold": rules("scaffold")},
        {},
    ],
    ids=["one rate", "set equal", "alone", "variants of one method", "tuned", "nothing known of the other", "none"],
)
def test_no_caution(fair: dict[str, LocalRules | None]) -> None:
    assert own_rates(fair) == ""


@pytest.mark.parametrize("trials", [(0, 8), (7, 8), (1, 1)], ids=["one of two", "unequal", "no choice"])
def test_tuning_that_lifts_no_caution(trials: tuple[int, int]) -> None:
    fedavg, scaffold = trials
    caution = own_rates({"fedavg": rules("fedavg", trials=fedavg), "scaffold": rules("scaffold", trials=scaffold)})
    assert "are not equal and were not" in caution
    assert ("not all equally tuned" in caution) is (scaffold > 1)


def test_the_tuned_pair_is_left_out_of_a_caution() -> None:
    three = {"fedavg": rules("fedavg", trials=8), "scaffold": rules("scaffold", trials=8), "local": rules("local")}
    assert "scaffold with sgd 0.1 (scaffold.lr); local with adam" in own_rates(three)


def test_words_on_tuning_lift_no_caution_and_a_ledger_does(small_grid: Callable[..., Grid]) -> None:
    cells = small_grid(methods=("fedavg", "scaffold"), tuning="three values of lr per method").cells
    assert [planned_rules(cell).trials for cell in cells] == [0, 0]
    assert [planned_rules(cell, LEDGER).trials for cell in cells] == [3, 3]
    changed = small_grid(Overrides(methods="scaffold[label=scaffold;lr=0.2]"), methods=("scaffold",)).cells
    assert [planned_rules(cell, LEDGER).trials for cell in changed] == [0]  # not what the ledger chose


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
    assert {entry.method: entry.badges for entry in entries(records, lines(records))} == {
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
    write("fedavg")
    write("scaffold")
    assert cautioned(lines(store.records()))
    board = lines(store.records(), ledger=LEDGER)
    assert cautioned(board) == []
    assert not [note for note in read_records(store.records(), ledger=LEDGER).notes if "own rate" in note]
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
    badges = {entry.method: entry.badges for entry in entries(records, lines(records))}
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
