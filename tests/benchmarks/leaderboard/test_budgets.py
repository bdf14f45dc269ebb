"""How many trials stand behind what runs have, and what tables and verdicts say of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import ledgers
import pytest

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.grid.grid import Overrides
from fl_bench.benchmarks.leaderboard.budgets import budgets, how_choices_vary, in_words, unequal
from fl_bench.benchmarks.statistics.comparison import compare
from fl_bench.benchmarks.statistics.reading import read_records
from fl_bench.benchmarks.statistics.result import Options
from fl_bench.benchmarks.tables.comparison import heading, markdown, sections
from fl_bench.benchmarks.tables.comparison_csv import as_csv
from fl_bench.benchmarks.tables.latex import latex
from fl_bench.benchmarks.tuning.ledger import Tuning
from fl_bench.benchmarks.tuning.travel import leave

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.benchmarks.grid.grid import Grid
    from fl_bench.benchmarks.records.record import Outcome, Record
    from fl_bench.benchmarks.records.store import Store
    from fl_bench.benchmarks.tuning.ledger import Ledger

DATASETS = ("digits", "vowel")


def tuned(**trials: int) -> Ledger:
    """A ledger by whose choice local trains at 0.02, fedmd digests at 0.01, and fedavg at what it has."""
    chosen = {
        "local": {"training.lr": 0.02},
        "fedmd": {"digest_lr": 0.01, "training.lr": 0.001},
        "fedavg": {"training.lr": 0.001},
    }
    searches = [ledgers.search(name, chosen[name], count, places=DATASETS) for name, count in trials.items()]
    return ledgers.ledger(*searches, trials=max(trials.values()))


@pytest.fixture
def records(store: Store, small_grid: Callable[..., Grid], outcome: Callable[..., Outcome]) -> list[Record]:
    methods = (
        {"local": {"training": {"lr": 0.02}}},
        {"fedmd": {"digest_lr": 0.01}},
        {"name": "fedavg", "settings": {}},
    )
    for cell in small_grid(methods=methods, datasets=DATASETS, seeds=(0, 1)).cells:
        better = {"fedmd": 70.0, "local": 60.0, "fedavg": 50.0}[cell.method]
        store.write(cell, outcome({"client": [better + cell.seed]}))
    return store.records()


def test_trials_are_those_of_the_ledger_where_it_chose_what_ran(records: list[Record]) -> None:
    assert budgets(records, None) == {}
    assert budgets(records, tuned(local=3, fedmd=3, fedavg=3)) == {"fedavg": 3, "fedmd": 3, "local": 3}
    assert budgets(records, tuned(local=3)) == {"fedavg": 0, "fedmd": 0, "local": 3}


@pytest.mark.parametrize(
    "chosen",
    [
        {"digest_lr": 0.02, "training.lr": 0.001},
        {"digest_lr": 0.01, "training.lr": 0.002},
        {"digest_lr": 0.01, "training.lr": 0.001, "digest_epochs": 2},
    ],
)
def test_settings_that_the_ledger_did_not_choose_are_not_tuned(records: list[Record], chosen: dict[str, float]) -> None:
    other = ledgers.ledger(ledgers.search("fedmd", chosen, 3, places=DATASETS))
    assert budgets(records, other)["fedmd"] == 0


def test_what_the_entry_fixed_and_where_it_was_tuned_count(records: list[Record]) -> None:
    chosen = {"training.lr": 0.001}
    right = ledgers.search("fedmd", chosen, 3, places=DATASETS, fixed={"digest_lr": 0.01})
    assert budgets(records, ledgers.ledger(right))["fedmd"] == 3
    assert budgets(records, ledgers.ledger(replace(right, fixed={"digest_lr": 0.02})))["fedmd"] == 0
    assert budgets(records, ledgers.ledger(replace(right, name="fedavg")))["fedmd"] == 0
    one_set = ledgers.search("fedmd", {"digest_lr": 0.01}, 3, places=("digits",))
    assert budgets(records, ledgers.ledger(one_set))["fedmd"] == 0  # vowel ran with settings that nobody tuned


def test_equal_budgets_are_stated_once_and_qualify_nothing(records: list[Record]) -> None:
    ledger = tuned(local=3, fedmd=3, fedavg=3)
    result = compare(read_records(records, ledger=ledger), Options(control="fedmd"))
    assert result.tuning == "3 trials each, validation, seed 100"
    assert any(line.endswith("tuning: 3 trials each, validation, seed 100") for line in heading(result))
    assert "% reported: the last round; tuning: 3 trials each, validation, seed 100" in latex(result, "tab:x")
    assert "unequal tuning" not in markdown(result)


def test_trials_of_another_length_are_said(records: list[Record]) -> None:
    ledger = tuned(local=3, fedmd=3, fedavg=3)
    rounds = records[0].cell["training"]["rounds"]
    same, other = (replace(ledger, grid=replace(ledger.grid, rounds=(count,))) for count in (rounds, 77))
    assert read_records(records, ledger=same).tuning == "3 trials each, validation, seed 100"
    said = f"3 trials each, validation, seed 100, chosen at 77 rounds and run for {rounds}"
    assert read_records(records, ledger=other).tuning == said


def test_a_ledger_of_something_else_is_no_tuning_and_is_named(records: list[Record]) -> None:
    table = read_records(records, ledger=ledgers.ledger(ledgers.search("fedmd", {}, 3, places=("elsewhere",))))
    # fedmd has a setting that is not its default, local a learning rate of its own
    assert table.tuning == "untuned defaults, but fedmd, local as configured, tuning budget not on record"
    assert any("tuning.json) is of other data sets or settings" in note for note in table.notes)
    assert not any("tuning.json" in note for note in read_records(records).notes)


def test_no_plain_verdict_over_unequal_budgets(records: list[Record]) -> None:
    result = compare(read_records(records, ledger=tuned(local=3, fedmd=12)), Options(control="fedmd"))
    (of_fedavg, of_local) = result.verdicts
    assert "fedavg against fedmd" in of_fedavg
    assert "; unequal tuning: 0 trials against 12" in of_fedavg
    assert "; unequal tuning: 3 trials against 12" in of_local
    assert any("local (unequal tuning: 3 trials against 12)" in sentence for sentence in result.summary)
    rows = next(section.rows for section in sections(result) if any("unequal\ntuning" in row for row in section.rows))
    assert [row["unequal\ntuning"] for row in rows] == ["0 trials against 12", "3 trials against 12"]
    assert "unequal tuning: 3 trials against 12" in as_csv(result)
    assert r"$^{\dagger}$" in latex(result, "tab:x")
    assert result.tuning == "unequal tuning, validation, seed 100: 12 trials: fedmd; 3 trials: local; 0 trials: fedavg"


def test_without_a_ledger_nothing_is_said(records: list[Record]) -> None:
    result = compare(read_records(records), Options(control="fedmd"))
    assert "unequal tuning" not in markdown(result)
    assert "budget not on record" in result.tuning


def test_a_ledger_of_something_else_says_nothing(records: list[Record]) -> None:
    other = ledgers.ledger(ledgers.search("ditto", {"lam": 2.0}, 3, places=DATASETS))
    table = read_records(records, ledger=other)
    assert (table.trials, table.tuning) == ((), read_records(records).tuning)


def test_compare_finds_the_ledger_of_the_folder(
    records: list[Record], store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(records) == 12
    leave(tuned(local=12, fedmd=12).text(), store.results)
    assert run_command(["compare", str(store.results), "--control", "fedmd"]) == 0
    assert "unequal tuning: 0 trials against 12" in " ".join(capsys.readouterr().out.split())
    (store.results / "tuning.json").write_text("{}", encoding="utf-8")
    assert run_command(["compare", str(store.results)]) == 2
    assert "is no ledger of a tuning" in capsys.readouterr().err


def test_words() -> None:
    ledger = tuned(local=3)
    assert in_words({"a": 1}, ledger) == "1 trial each, validation, seed 100"
    assert unequal({"a": 1, "b": 0}, "a · view", "b") == "unequal tuning: 1 trial against 0"
    assert unequal({"a": 3, "b": 3}, "a", "b") == ""
    assert unequal({}, "a", "b") == ""


def test_how_much_a_choice_varies_is_one_line(records: list[Record]) -> None:
    first = ledgers.search("local", {"training.lr": 0.02, "training.local_epochs": 1}, 3, places=DATASETS)
    other = ledgers.search("local", {"training.lr": 0.005, "training.local_epochs": 1}, 3, places=DATASETS)
    ledger = ledgers.ledger(tunings=(Tuning((100,), (first,)), Tuning((101,), (other,)), Tuning((102,), (other,))))
    line = "choices of 3 tunings with other seeds, the first one used: local: training.lr 0.02, 0.005"
    assert how_choices_vary(ledger) == line
    assert line in read_records(records, ledger=ledger).notes
    assert how_choices_vary(tuned(local=3)) == ""


def test_brackets_without_a_label_are_no_choice_of_the_ledger(
    store: Store, small_grid: Callable[..., Grid], outcome: Callable[..., Outcome]
) -> None:
    (cell,) = small_grid(Overrides(methods="fedmd[digest_lr=0.01]"), always=()).cells
    store.write(cell, outcome({"client": [60.0]}))
    assert budgets(store.records(), tuned(fedmd=3)) == {"fedmd[digest_lr=0.01]": 0}
