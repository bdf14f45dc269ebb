"""What a tuning tries, when it stops, what it chooses: the same for every method, and the same again after a kill."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING, Any

import pytest

from fl_bench.benchmarks.grid.grid import LedgerReference, Overrides, expand
from fl_bench.benchmarks.records.store import Store
from fl_bench.benchmarks.tuning.asked import Budget
from fl_bench.benchmarks.tuning.coverage import trials_of
from fl_bench.benchmarks.tuning.ledger import parse_ledger
from fl_bench.benchmarks.tuning.study import Study
from fl_bench.benchmarks.tuning.written import tuned_grid
from fl_bench.errors import ConfigError, DataError
from fl_bench.spaces import Choices, Log

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.tuning.asked import Asked

    Ask = Callable[..., Asked]
    Play = Callable[..., list[list[Cell]]]

SMALL = Budget(trials=4, seeds=(100, 101))


def level(cell: Cell) -> float:
    """Better with a rate near 0.01 and with digest rates near 0.03; seeds and data sets differ, so that none ties."""
    digest = getattr(cell.config, "digest_lr", 0.03)
    off = abs(cell.training.lr - 0.01) * 100 + abs(digest - 0.03) * 100
    return 70 - min(off, 50) - len(cell.dataset.name) - 0.1 * (cell.seed % 7)


def rising(cell: Cell) -> float:
    """The larger the rate, the better, whatever the data."""
    return 90 - 1 / (cell.training.lr + 0.02)


def test_every_method_gets_the_same_number_of_trials(ask: Ask, play: Play, store: Store) -> None:
    asked = ask(SMALL, methods=("local", "fedavg", {"fedmd": {"digest_lr": 0.02}}))
    study = Study(asked, store)
    play(study, store, level)
    ledger = study.ledger()
    searches = ledger.tunings[0].searches
    assert {search.method: len(search.trials) for search in searches} == {"local": 4, "fedavg": 4, "fedmd": 4}
    for search in searches:
        assert [trial.number for trial in search.trials] == [0, 1, 2, 3]
        assert {"training.lr", "training.local_epochs"} <= search.space.keys()
        assert search.trials[0].settings["training.lr"] == 0.005
        assert search.trials[0].settings["training.local_epochs"] == 2
        settings = [trial.settings for trial in search.trials]
        assert all(settings.count(one) == 1 for one in settings)
    (fedmd,) = ledger.searches("fedmd")
    assert fedmd.fixed == {"digest_lr": 0.02}
    assert "digest_lr" not in fedmd.space
    assert "digest_epochs" in fedmd.space
    assert parse_ledger(ledger.text(), store.results / "x") == ledger


def test_no_trial_takes_more_steps_than_the_grid_s_entry(ask: Ask, store: Store) -> None:
    asked = ask(Budget(trials=12, seeds=(100,)), methods=("fedmd",))
    (method,) = asked.methods
    most = method.steps(method.default)
    assert most is not None
    assert (method.steps({**method.default, "training.local_epochs": 3}) or 0) > most
    drawn = Study(asked, store).waiting()
    assert len(drawn) == 3  # a quarter of the budget at a time
    for cell in drawn:
        settings = {
            "digest_epochs": cell.config.digest_epochs,
            "digest_lr": cell.config.digest_lr,
            "training.local_epochs": cell.training.local_epochs,
            "training.lr": cell.training.lr,
        }
        assert (method.steps(settings) or 0) <= most


def test_a_tuning_that_was_killed_asks_for_the_same_again(ask: Ask, play: Play, tmp_path: Path) -> None:
    whole, parts = Store(tmp_path / "whole"), Store(tmp_path / "parts")
    study = Study(ask(SMALL), whole)
    asked = {cell.key for cells in play(study, whole, level) for cell in cells}
    again: set[str] = set()
    while first := Study(ask(SMALL), parts).waiting():  # as the command sees it after a kill
        done = first[: (len(first) + 1) // 2]
        for cell in done:
            record = whole.find(cell)
            assert record is not None
            parts.adopt(cell, record.texts())
        again |= {cell.key for cell in done}
        left = {cell.key for cell in first} - again
        assert left <= {cell.key for cell in Study(ask(SMALL), parts).waiting()}
    assert again == asked
    last = Study(ask(SMALL), parts)
    assert last.waiting() == []
    assert last.ledger().text() == study.ledger().text()


def test_hopeless_trials_stop_and_count(ask: Ask, play: Play, store: Store) -> None:
    study = Study(ask(Budget(trials=12, seeds=(100,)), methods=("local",)), store)
    cells = [cell for cells in play(study, store, level) for cell in cells]
    (search,) = study.ledger().tunings[0].searches
    assert len(search.trials) == 12
    stopped = [trial for trial in search.trials if trial.status == "stopped"]
    assert stopped
    assert {trial.status for trial in search.trials[:4]} == {"done"}
    for trial in stopped:
        earlier = [other.accuracy["digits"]["100"] for other in search.trials[: trial.number]]
        ordered = sorted(earlier)
        middle = fmean([ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]])
        assert list(trial.accuracy) == ["digits"]
        assert trial.accuracy["digits"]["100"] < middle
        assert not [
            cell for cell in cells if cell.label == f"local-trial-{trial.number}" and cell.dataset.name == "vowel"
        ]


def test_the_first_trial_goes_to_the_end_however_bad(ask: Ask, play: Play, store: Store) -> None:
    study = Study(ask(SMALL, methods=("local",)), store)
    play(study, store, lambda cell: 10.0 if cell.training.lr == 0.005 else 60.0 + cell.training.lr)
    (search,) = study.ledger().tunings[0].searches
    assert search.trials[0].status == "done"
    assert list(search.trials[0].accuracy) == ["digits", "vowel"]
    assert search.chosen > 0


def test_an_optimum_at_an_edge_widens_the_space_within_the_budget(ask: Ask, play: Play, store: Store) -> None:
    budget = Budget(trials=16, seeds=(100,))
    study = Study(ask(budget, methods=("local",), training={"rounds": 2, "lr": 0.09}), store)
    play(study, store, rising)
    (search,) = study.ledger().tunings[0].searches
    assert len(search.trials) == 16
    first = search.widened[0]
    assert (first.before, first.setting, first.side, first.space) == (4, "training.lr", "high", "log(0.0001, 1)")
    assert all(trial.settings["training.lr"] <= 0.1 for trial in search.trials[:4])
    assert search.choice.settings["training.lr"] == max(trial.settings["training.lr"] for trial in search.trials)


def test_an_edge_of_the_choice_is_reported(ask: Ask, play: Play, store: Store) -> None:
    study = Study(ask(Budget(trials=2, seeds=(100,)), methods=("local",), training={"rounds": 2, "lr": 0.1}), store)
    play(study, store, lambda cell: 10 + 100 * cell.training.lr)
    (search,) = study.ledger().tunings[0].searches
    assert (search.chosen, search.edges["training.lr"]) == (0, "high")


def test_each_data_set_may_have_a_choice_of_its_own(ask: Ask, play: Play, store: Store) -> None:
    def score(cell: Cell) -> float:
        wanted = 0.05 if cell.dataset.name == "digits" else 0.0005
        return 80 - 100 * abs(cell.training.lr - wanted)

    asked = ask(Budget(trials=6, seeds=(100,), per="dataset"), methods=("local",))
    study = Study(asked, store)
    play(study, store, score)
    ledger = study.ledger()
    assert [search.places for search in ledger.searches("local")] == [("digits",), ("vowel",)]
    tuned = tuned_grid(asked.file, ledger, LedgerReference("x.json", "0"))
    rates = {cell.dataset.name: cell.training.lr for cell in expand(tuned, "tuned.yaml").cells}
    assert rates == {search.places[0]: search.choice.settings["training.lr"] for search in ledger.searches("local")}
    assert rates["digits"] > rates["vowel"]


def test_a_trial_with_a_failed_run_is_not_chosen_and_may_be_tried_again(ask: Ask, play: Play, store: Store) -> None:
    budget = Budget(trials=3, seeds=(100,))

    def score(cell: Cell) -> float | None:
        return None if cell.label == "local-trial-1" else level(cell)

    study = Study(ask(budget, methods=("local",)), store)
    play(study, store, score)
    (search,) = study.ledger().tunings[0].searches
    assert (search.trials[1].status, search.trials[1].reason) == ("failed", "digits: failed, it broke")
    assert search.chosen != 1
    again = Study(ask(budget, methods=("local",)), store, retry=True)
    first = again.waiting()
    assert [(cell.label, cell.dataset.name) for cell in first] == [("local-trial-1", "digits")]
    assert again.waiting() == []  # asked for once, whatever came of it
    play(Study(ask(budget, methods=("local",)), store, retry=True), store, lambda cell: 99.0)
    done = Study(ask(budget, methods=("local",)), store)
    assert done.waiting() == []
    assert done.ledger().tunings[0].searches[0].chosen == 1


def test_a_grid_whose_own_entries_all_fail_on_a_data_set_ends_there(ask: Ask, play: Play, store: Store) -> None:
    study = Study(ask(Budget(trials=8, seeds=(100,))), store)
    with pytest.raises(ConfigError, match=r"first trial of every method.* failed; local on vowel: failed, it broke"):
        play(study, store, lambda cell: None if cell.dataset.name == "vowel" else level(cell))
    assert {record.label for record in store.records()} <= {
        f"{name}-trial-{number}" for name in ("local", "fedmd") for number in (0, 1)
    }


def test_a_method_that_fails_alone_stops_no_tuning(ask: Ask, play: Play, store: Store) -> None:
    study = Study(ask(Budget(trials=3, seeds=(100,))), store)
    play(study, store, lambda cell: None if cell.method == "fedmd" else level(cell))
    assert [search.trials[0].status for search in study.ledger().tunings[0].searches] == ["done", "failed"]


def test_further_settings_of_local_training_are_tuned_alike_and_take_no_more_steps(
    ask: Ask, play: Play, store: Store
) -> None:
    spaces = {"batch_size": Choices((16, 32, 64)), "weight_decay": Log(1e-6, 1e-2)}
    asked = ask(Budget(trials=6, seeds=(100,)), spaces=spaces)
    for method in asked.methods:
        assert {f"training.{name}" for name in spaces} <= method.spaces.keys()
    study = Study(asked, store)
    play(study, store, lambda cell: 50.0 + 1e3 * cell.training.weight_decay + cell.training.batch_size / 10)
    for search, method in zip(study.ledger().tunings[0].searches, asked.methods, strict=True):
        assert search.space["training.batch_size"] == "16 | 32 | 64"
        most = method.steps(search.trials[0].settings)
        assert all((method.steps(trial.settings) or 0) <= (most or 0) for trial in search.trials)
        assert len({trial.settings["training.batch_size"] for trial in search.trials}) > 1


def test_a_further_setting_that_cannot_be_is_refused(ask: Ask) -> None:
    with pytest.raises(ConfigError, match=r"--space.*rounds"):
        ask(spaces={"rounds": Choices((1, 2))})
    with pytest.raises(ConfigError, match="optimizer"):
        ask(spaces={"optimizer": Choices(("adam", "adagrad"))})


def test_repeats_have_seeds_of_their_own_and_the_first_one_chooses(ask: Ask, play: Play, store: Store) -> None:
    asked = ask(Budget(trials=3, seeds=(100, 102), repeat=3), methods=("local",))
    study = Study(asked, store)
    play(study, store, level)
    ledger = study.ledger()
    assert [tuning.seeds for tuning in ledger.tunings] == [(100, 102), (103, 105), (106, 108)]
    assert ledger.searches("local") == list(ledger.tunings[0].searches)
    drawn = [tuning.searches[0].trials[1].settings for tuning in ledger.tunings]
    assert drawn[0] != drawn[1] != drawn[2]


def test_an_incomplete_tuning_has_no_ledger(ask: Ask, play: Play, store: Store) -> None:
    study = Study(ask(SMALL), store)
    play(study, store, level, most=1)
    with pytest.raises(DataError, match="the tuning is not complete"):
        study.ledger()


@pytest.mark.parametrize(
    ("changes", "budget", "said"),
    [
        ({}, {"seeds": (1, 2)}, "seed 1 would tune settings and judge them too: the grid has seeds 0-1"),
        ({}, {"seeds": (99,), "repeat": 2, "trials": 2}, ""),
        ({"seeds": (100,)}, {"seeds": (99,), "repeat": 2}, "seed 100 would tune"),
        ({"vary": {"init": "100"}}, {}, "seed 100 would tune"),
        ({"partition": {"clients": 5, "groups": 5, "val_fraction": 0.0}}, {}, "partition.val_fraction is 0"),
        ({}, {"trials": 1}, "--trials must be at least 2"),
        ({}, {"repeat": 0}, "--repeat must be at least 1"),
    ],
)
def test_what_would_not_be_fair_is_refused(ask: Ask, changes: Any, budget: Any, said: str) -> None:
    if not said:
        ask(Budget(**budget), **changes)
        return
    with pytest.raises(ConfigError, match=said):
        ask(Budget(**budget), **changes)


def test_what_cannot_run_in_the_grid_is_not_tuned(ask: Ask) -> None:
    asked = ask(SMALL, methods=("local", "fedavg"), models=["mlp-8", "mlp-16"])
    assert [method.entry.label for method in asked.methods] == ["local"]
    assert asked.unsupported.keys() == {"fedavg"}


def test_a_file_is_a_data_set_like_any_other(ask: Ask, play: Play, store: Store, tmp_path: Path) -> None:
    rows = "\n".join(f"{number % 7},{number % 5},{number % 2}" for number in range(400))
    table = tmp_path / "mine.csv"
    table.write_text(f"a,b,target\n{rows}\n", encoding="utf-8")
    location = f"csv:{table}?target=target"
    asked = ask(
        Budget(trials=3, seeds=(100,), per="dataset"),
        methods=("local",),
        datasets=("digits", location),
        partition={"scheme": "iid", "clients": 3, "min_test": 2, "val_fraction": 0.2},
    )
    study = Study(asked, store)
    play(study, store, lambda cell: 50 + 100 * cell.training.lr)
    ledger = study.ledger()
    assert [search.places for search in ledger.searches("local")] == [("digits",), ("csv:mine.csv?target=target",)]
    for search in ledger.searches("local"):  # the size of a file is not known, and rates are tried nonetheless
        assert not search.exhausted
        assert len({trial.settings["training.lr"] for trial in search.trials}) == 3
        assert {*search.trials[0].settings} == {"training.lr"}  # what counts steps stays
    tuned = expand(tuned_grid(asked.file, ledger, LedgerReference("x.json", "0")), "tuned.yaml")
    assert {trials_of(cell.label, cell.as_dict(), ledger) for cell in tuned.cells} == {3}


def test_a_grid_that_has_settings_for_single_data_sets_is_not_tuned(ask: Ask) -> None:
    with pytest.raises(ConfigError, match="which a tuning chooses anew; remove them"):
        ask(SMALL, per_dataset={"digits": {"fedmd": {"settings": {"digest_lr": 0.01}}}})


def test_a_grid_of_which_nothing_can_run_is_refused(ask: Ask) -> None:
    with pytest.raises(ConfigError, match="no method of this grid can run in it"):
        ask(SMALL, methods=("fedavg",), models=["mlp-8", "mlp-16"])


def test_what_the_command_line_changes_is_tuned_and_written(ask: Ask, play: Play, store: Store) -> None:
    overrides = Overrides(
        methods="fedmd[digest_epochs=2]", datasets="vowel", rounds=1, options=("training.batch_size=8",)
    )
    asked = ask(Budget(trials=2, seeds=(100,)), overrides)
    study = Study(asked, store)
    cells = [cell for cells in play(study, store, level) for cell in cells]
    assert {(cell.dataset.name, cell.training.rounds, cell.training.batch_size) for cell in cells} == {("vowel", 1, 8)}
    (search,) = study.ledger().tunings[0].searches
    assert (search.method, search.fixed) == ("fedmd[digest_epochs=2]", {"digest_epochs": 2})
    tuned = expand(tuned_grid(asked.file, study.ledger(), LedgerReference("x.json", "0")), "tuned.yaml")
    assert {
        (cell.label, cell.dataset.name, cell.training.rounds, cell.config.digest_epochs) for cell in tuned.cells
    } == {("fedmd[digest_epochs=2]", "vowel", 1, 2)}
    assert [cell.seed for cell in tuned.cells] == [0, 1]


def test_settings_that_are_named_are_tuned_together(ask: Ask, play: Play, store: Store) -> None:
    settings = {"even": {"partition.alpha": 100}, "skewed": {"partition.alpha": 0.5}}
    asked = ask(Budget(trials=2, seeds=(100,)), methods=("local",), datasets=("digits",), settings=settings)
    study = Study(asked, store)
    play(study, store, level)
    (search,) = study.ledger().tunings[0].searches
    assert search.places == ("digits [even]", "digits [skewed]")


def test_a_sweep_is_tuned_in_all_its_settings_and_written_as_what_was_asked(ask: Ask) -> None:
    given = Overrides(methods="local", datasets="digits", flags={"scheme": "dirichlet-class", "alpha": "0.1,1"})
    asked = ask(SMALL, given, training={"rounds": 2, "lr": [0.01, 0.1]})
    assert list(map(str, asked.places)) == [
        f"digits [alpha={alpha}, lr={lr}]" for alpha in ("0.1", "1") for lr in ("0.01", "0.1")
    ]
    cells = expand(asked.file, "tuned.yaml").cells  # groups, which dirichlet-class does not know, are gone
    assert {(cell.scheme.name, cell.scheme.alpha, cell.training.lr) for cell in cells} == {  # type: ignore[attr-defined]  # it has alpha
        ("dirichlet-class", alpha, lr) for alpha in (0.1, 1) for lr in (0.01, 0.1)
    }


def test_tpe_goes_on_from_what_was_tried(ask: Ask, play: Play, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    budget = Budget(trials=6, seeds=(100,), sampler="tpe")
    texts = []
    for name in ("one", "two"):
        store = Store(tmp_path / name)
        study = Study(ask(budget), store)
        play(study, store, level)
        texts.append(study.ledger().text())
    assert texts[0] == texts[1]
    ledger = parse_ledger(texts[0], tmp_path)
    assert {len(search.trials) for search in ledger.tunings[0].searches} == {6}
    store = Store(tmp_path / "random")
    study = Study(ask(Budget(trials=6, seeds=(100,))), store)
    play(study, store, level)
    other = study.ledger()
    for mine, random in zip(ledger.tunings[0].searches, other.tunings[0].searches, strict=True):
        assert mine.trials[1].settings == random.trials[1].settings  # what it starts with
        assert mine.trials[-1].settings != random.trials[-1].settings
