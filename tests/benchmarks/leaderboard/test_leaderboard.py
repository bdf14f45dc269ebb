"""Leaderboards from records made by hand: every number worked out on paper."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from fl_bench.benchmarks.grid.cell import Cell
from fl_bench.benchmarks.grid.grid import Grid
from fl_bench.benchmarks.leaderboard.files import differences, files, write
from fl_bench.benchmarks.leaderboard.lines import Line, interval, lines, overall, within_percent
from fl_bench.benchmarks.leaderboard.pairing import check_pairing
from fl_bench.benchmarks.records.record import Outcome
from fl_bench.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from fl_bench.benchmarks.records.store import Store

MakeCell = Callable[..., Cell]
MakeGrid = Callable[..., Grid]
MakeOutcome = Callable[..., Outcome]


def only(board: list[Line], method: str, view: str = "client") -> Line:
    (line,) = [line for line in board if (line.method, line.view) == (method, view)]
    return line


@pytest.fixture
def filled(store: Store, cell_of: MakeCell, outcome: MakeOutcome) -> Store:
    """fedmd (60, 70, 80) and local (50, 70, 60) over seeds 0 to 2, after a better first round of fedmd."""
    for seed, (fedmd, local) in enumerate([(60.0, 50.0), (70.0, 70.0), (80.0, 60.0)]):
        views = {"client": [fedmd + 6, fedmd], "server": [1.0, 2.0]}
        store.write(cell_of("fedmd", seed), outcome(views, validation=[9.0, 8.0], seconds=seed))
        store.write(cell_of("local", seed), outcome({"client": [0.0, local]}, validation=[1.0, 2.0]))
    return store


def test_mean_spread_and_interval(filled: Store) -> None:
    line = only(lines(filled.records()), "fedmd")
    assert (line.seeds, line.acc_mean, line.acc_std) == (3, 70.0, 10.0)
    # t quantile for 2 degrees of freedom at 0.975: 4.302653 (any table); half width t * 10 / sqrt(3) = 24.8414
    assert (line.acc_ci95_low, line.acc_ci95_high) == (
        pytest.approx(45.1586, abs=1e-4),
        pytest.approx(94.8414, abs=1e-4),
    )
    assert line.acc_worst_decile == 60.0
    assert line.in_group_ceiling == pytest.approx(92.0)
    assert line.seconds == 1.0


def test_gaps_are_paired_by_seed(filled: Store, cell_of: MakeCell, outcome: MakeOutcome) -> None:
    # differences 10, 0, 20
    assert only(lines(filled.records()), "fedmd").gap_to_local == 10.0
    # cosmos has seed 2 only: 65 - 60, not 65 minus the mean of local
    filled.write(cell_of("cosmos", 2), outcome({"client": [65.0]}))
    line = only(lines(filled.records()), "cosmos")
    assert (line.gap_to_local, line.seeds_missing, line.acc_std, line.acc_ci95_low) == (5.0, "0 1", None, None)


def test_a_gap_over_fewer_seeds_says_so(filled: Store, cell_of: MakeCell, outcome: MakeOutcome) -> None:
    filled.write(cell_of("fedmd", 7), outcome({"client": [100.0, 100.0]}))
    line = only(lines(filled.records()), "fedmd")
    assert (line.gap_to_local, line.note) == (10.0, "gap to local over seeds 0 1 2 only")


def test_bytes_are_per_participating_client_and_round(filled: Store) -> None:
    # two rounds of 4 clients: up 400 + 400, down 0 + 200
    line = only(lines(filled.records()), "fedmd")
    assert (line.bytes_up, line.bytes_down, line.bytes_total, line.bytes_one_off) == (100.0, 25.0, 1000.0, 1000.0)


def test_the_reported_round_is_the_last_or_the_best_on_validation(filled: Store) -> None:
    # fedmd validates best in round 0, where it scores 66, 76, 86
    last, validated = (only(lines(filled.records(), how), "fedmd") for how in ("last", "val"))  # type: ignore[arg-type]
    assert (last.acc_mean, validated.acc_mean) == (70.0, 76.0)
    assert (last.optimism, validated.optimism) == (6.0, 0.0)


def test_validation_accuracy_is_of_the_methods_own_view_at_the_reported_round(filled: Store) -> None:
    own = {how: only(lines(filled.records(), how), "fedmd").val for how in ("last", "val")}  # type: ignore[arg-type]
    assert own == {"last": 8.0, "val": 9.0}
    others = [line.val for line in lines(filled.records()) if not line.deployed]
    assert others
    assert set(others) == {None}
    assert {line.method: line.val for line in overall(lines(filled.records())) if line.deployed}["fedmd"] == 8.0


def test_selection_without_validation_data_leaves_a_note(store: Store, cell_of: MakeCell, outcome: MakeOutcome) -> None:
    store.write(cell_of(), outcome({"client": [1.0]}))
    line = lines(store.records(), "val")[0]
    assert (line.acc_mean, line.note) == (None, "no validation data in some runs")


def test_other_views_are_lines_of_their_own(filled: Store) -> None:
    board = lines(filled.records())
    assert only(board, "fedmd").deployed
    assert not only(board, "fedmd", "server").deployed
    assert only(board, "fedmd", "server").acc_mean == 2.0


@pytest.mark.parametrize("status", ["diverged", "failed", "timeout", "unsupported"])
def test_what_is_not_done_is_counted_and_named_but_not_averaged(
    filled: Store, cell_of: MakeCell, outcome: MakeOutcome, status: str
) -> None:
    filled.write(cell_of("fedmd", 3), outcome({"client": [1e9]}, status=status))
    line = only(lines(filled.records()), "fedmd")
    assert (line.acc_mean, line.seeds, line.done, getattr(line, status)) == (70.0, 3, 3, 1)
    assert (line.seeds_done, line.seeds_not_done) == ("0 1 2", f"3:{status}")
    assert only(lines(filled.records()), "local").seeds_missing == "3"


def test_a_method_that_never_ended_well_has_a_line(filled: Store, cell_of: MakeCell, outcome: MakeOutcome) -> None:
    filled.write(cell_of("fedavg"), outcome(status="unsupported", reason="why"))
    line = only(lines(filled.records()), "fedavg", "")
    assert (line.acc_mean, line.unsupported, line.seeds_missing) == (None, 1, "1 2")


def test_badges_of_methods_and_views(store: Store, cell_of: MakeCell, outcome: MakeOutcome) -> None:
    facts = {"badges": ["oracle: true groups (x)"], "view_badges": {"best_oracle": ["oracle: test labels"]}}
    store.write(cell_of(), outcome({"client": [1.0], "best_oracle": [2.0]}, facts=facts))
    board = lines(store.records())
    assert only(board, "local").badges == "oracle: true groups (x)"
    assert only(board, "local", "best_oracle").badges == "oracle: test labels; oracle: true groups (x)"


def test_two_methods_of_one_label_are_told_apart(store: Store, cell_of: MakeCell, outcome: MakeOutcome) -> None:
    for epochs in (2, 3):
        store.write(cell_of(f"fedmd[label=mine;digest_epochs={epochs}]"), outcome({"client": [float(epochs)]}))
    first, second = lines(store.records())
    assert first.method.startswith("mine #")
    assert second.method.startswith("mine #")
    assert {first.acc_mean, second.acc_mean} == {2.0, 3.0}


def test_one_method_under_two_labels_is_one_line(store: Store, cell_of: MakeCell, outcome: MakeOutcome) -> None:
    store.write(cell_of("fedmd[label=mine;digest_epochs=2]", 0), outcome({"client": [1.0]}))
    store.write(cell_of("fedmd[label=mine;digest_epochs=2]", 1), outcome({"client": [2.0]}))
    store.write(cell_of("fedmd[digest_epochs=2]", 2), outcome({"client": [3.0]}))
    (line,) = lines(store.records())
    assert (line.method, line.seeds) == ("mine", 3)


@pytest.mark.parametrize("what", ["partition", "initial_weights", "client_draws", "public_order", "data"])
def test_runs_that_are_not_comparable_are_refused(
    filled: Store, cell_of: MakeCell, outcome: MakeOutcome, what: str
) -> None:
    facts: dict[str, Any] = {"pairing": {what: "z"}} if what != "data" else {"dataset": {"fingerprint": "z"}}
    filled.write(cell_of("cosmos", 1), outcome({"client": [1.0]}, facts=facts))
    with pytest.raises(DataError, match=what.replace("_", " ")) as error:
        check_pairing(filled.records())
    assert "cosmos-1-" in str(error.value)
    assert "fedmd-1-" in str(error.value)


def test_runs_of_one_seed_that_vary_a_part_of_it_are_not_one(
    store: Store, small_grid: MakeGrid, outcome: MakeOutcome
) -> None:
    moved = {"init": "initial_weights", "partition": "partition"}
    grid = small_grid(seeds=(0,), vary={"init": (3,), "partition": (3,)})
    for score, cell in enumerate(grid.cells):  # local and fedmd in turn
        other = {moved[factor]: "z" for factor, _ in cell.repetition.varied}  # as it should be
        pairing = {"partition": "p", "initial_weights": "w", **other}
        store.write(cell, outcome({"client": [50.0 + score]}, facts={"pairing": pairing}))
    board = lines(store.records())
    assert len(board) == 2
    fedmd = only(board, "fedmd")
    assert (fedmd.seeds, fedmd.seeds_done) == (3, "0 0/init=3 0/partition=3")
    assert fedmd.acc_mean == 53.0  # of 51, 53 and 55
    assert fedmd.gap_to_local == 1.0  # in every pair
    # the three share three of their four seeds: Student's t would be too sure
    note = "runs share seeds, so there is no spread and no interval"
    assert (fedmd.acc_std, fedmd.acc_ci95_low, fedmd.note) == (None, None, note)
    clash = grid.cells[2].key
    (folder,) = (record.folder for record in store.records() if record.run["key"] == clash)
    run = json.loads((folder / "run.json").read_text())
    run["facts"]["pairing"]["initial_weights"] = "other"
    (folder / "run.json").write_text(json.dumps(run))
    with pytest.raises(DataError, match="initial weights differ"):
        check_pairing(store.records())


def test_settings_are_never_mixed(store: Store, cell_of: MakeCell, outcome: MakeOutcome) -> None:
    store.write(cell_of("local", 0), outcome({"client": [1.0]}))
    store.write(
        cell_of("local", 1, training={"rounds": 3}), outcome({"client": [2.0]}, facts={"pairing": {"partition": "z"}})
    )
    board = lines(store.records())
    assert sorted(line.acc_mean or 0 for line in board) == [1.0, 2.0]
    assert len({line.setting for line in board}) == 2


@pytest.mark.parametrize(
    ("training", "says"), [({"views": "deployed"}, "; deployed views only"), ({"risks": True}, "; with risks")]
)
def test_a_run_that_keeps_more_or_less_than_usual_says_so(
    store: Store, cell_of: MakeCell, outcome: MakeOutcome, training: dict[str, Any], says: str
) -> None:
    for settings in ({}, training):
        store.write(cell_of("local", 0, training=settings), outcome({"client": [1.0]}))
    texts = sorted((line.setting_text for line in lines(store.records())), key=len)
    assert texts[1] == f"{texts[0]}{says}"


def test_a_public_pool_of_another_kind_is_said(store: Store, cell_of: MakeCell, outcome: MakeOutcome) -> None:
    partition = {"clients": 5, "public": {"noise": 3, "missing": [2, 1], "removed": 0.5}}
    store.write(cell_of("local", 0, partition=partition), outcome({"client": [1.0]}))
    (line,) = lines(store.records())
    assert "public=(share=0.2, missing=[1, 2], removed=0.5, noise=3)" in line.setting_text


def test_means_over_datasets_and_ranks(store: Store, cell_of: MakeCell, outcome: MakeOutcome) -> None:
    for dataset, scores in {
        "digits": {"local": 50.0, "fedmd": 60.0, "cosmos": 60.0},
        "letter": {"local": 40.0, "fedmd": 30.0},
    }.items():
        for method, score in scores.items():
            store.write(cell_of(method, datasets=(dataset,)), outcome({"client": [score]}))
    table = {line.method: line for line in overall(lines(store.records()))}
    # digits: fedmd and cosmos share places 1 and 2, local is third; letter: local first, fedmd second
    assert (table["local"].acc_mean, table["local"].rank_mean) == (45.0, 2.0)
    assert (table["fedmd"].acc_mean, table["fedmd"].rank_mean, table["fedmd"].gap_to_local) == (45.0, 1.75, 0.0)
    assert (table["cosmos"].acc_mean, table["cosmos"].rank_mean) == (None, None)
    assert (table["cosmos"].datasets, table["cosmos"].datasets_missing) == (1, "letter")


def test_the_interval_needs_two_values() -> None:
    assert interval([]) == interval([1.0]) == (None, None)
    assert interval([2.0, 2.0]) == (2.0, 2.0)
    assert within_percent((-3.0, 104.0)) == (0.0, 100.0)
    assert within_percent((None, None)) == (None, None)


def test_files_depend_on_the_records_alone(filled: Store) -> None:
    records = filled.records()
    content = files(records)
    for seed in range(3):
        random.Random(seed).shuffle(records)
        assert files(records) == content
    assert set(content) == {"digits.csv", "overall.csv"}
    assert "-0.0000" not in content["digits.csv"]


def test_check_sees_every_difference(filled: Store, tmp_path: Path) -> None:
    content = files(filled.records())
    assert len(differences(tmp_path, content)) > 0
    write(tmp_path, content)
    assert differences(tmp_path, content) == []
    good = (tmp_path / "digits.csv").read_bytes()
    for bad in (good.replace(b"70.0000", b"70.0001"), good[:-1], good.replace(b"\n", b"\r\n"), b""):
        (tmp_path / "digits.csv").write_bytes(bad)
        assert len(differences(tmp_path, content)) > 0
    (tmp_path / "digits.csv").write_bytes(good)
    (tmp_path / "gone.csv").write_text("no record stands behind it\n")
    assert any("gone.csv" in line for line in differences(tmp_path, content))
    write(tmp_path, content)
    assert differences(tmp_path, content) == []
