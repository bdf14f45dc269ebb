"""Clients that were kept out of training, in tables: scored once, at the last round, and compared among themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fl_bench.benchmarks.commands.run_view import print_record, rounds_table
from fl_bench.benchmarks.grid.grid import Overrides
from fl_bench.benchmarks.leaderboard.clusterless import taking_part
from fl_bench.benchmarks.leaderboard.lines import lines, overall
from fl_bench.benchmarks.statistics.reading import read_records
from fl_bench.benchmarks.tables.results import print_results
from fl_bench.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.grid.grid import Grid
    from fl_bench.benchmarks.records.record import Outcome
    from fl_bench.benchmarks.records.store import Store

PARTITION = {"clients": 5, "groups": 5, "min_test": 5, "unseen": 0.4}


@pytest.fixture
def filled(store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]) -> Store:
    """Records of Local-only and FedMD with three rounds, the first of which is best on validation data."""
    for method, seen, unseen in (("local", [60.0, 50.0, 52.0], 40.0), ("fedmd", [70.0, 65.0, 66.0], 45.0)):
        made = outcome({"client": seen}, validation=[9.0, 8.0, 7.0])
        last = {"unseen.acc_mean": unseen, "unseen.acc_worst_decile": 30.0, "unseen.clients": 2, "steps_unseen": 11}
        rounds = [*made.rounds[:-1], {**made.rounds[-1], **last}]
        facts = {**made.facts, "views": ["client", "unseen"]}
        store.write(cell_of(method, 0, partition=PARTITION), replace(made, rounds=rounds, facts=facts))
    return store


@pytest.mark.parametrize("selection", ["last", "val"])
def test_they_have_a_line_of_their_own_whatever_round_is_reported(filled: Store, selection: str) -> None:
    board = {(line.method, line.view): line for line in lines(filled.records(), selection)}  # type: ignore[arg-type]
    assert [line.acc_mean for line in board.values() if line.view == "unseen"] == [45.0, 40.0]
    assert board["fedmd", "unseen"].gap_to_local == 5.0  # to Local-only's on the same clients, and not to 52 or 60
    assert board["fedmd", "client"].gap_to_local == (14.0 if selection == "last" else 10.0)
    assert board["fedmd", "unseen"].optimism == 0.0
    assert not board["fedmd", "unseen"].deployed
    assert all(line.rank_mean is None for line in overall(list(board.values())) if line.view == "unseen")
    table = read_records(filled.records(), selection, ["fedmd · unseen", "local · unseen"])  # type: ignore[arg-type]
    (condition,) = table.conditions
    assert dict(zip(table.methods, condition.accuracy, strict=True)) == {
        "fedmd · unseen": (45.0,),
        "local · unseen": (40.0,),
    }


def test_tables_name_them(filled: Store, screen: Callable[..., Console], text: Callable[[Console], str]) -> None:
    shown = screen(width=250)
    print_results(shown, lines(filled.records()), explain=True)
    assert "· unseen" in text(shown)
    assert "unseen: clients that were kept out of training" in text(shown)
    (record,) = [record for record in filled.records() if record.label == "fedmd"]
    assert not any("unseen" in name for row in rounds_table(record) for name in row)
    one = screen(width=200)
    print_record(one, record)
    assert "unseen: 45.00 %, mean over 2 clients" in text(one)
    assert "with 11 steps of all" in " ".join(text(one).split())


def test_a_cell_of_it_is_one_of_its_own(cell_of: Callable[..., Cell]) -> None:
    usual, kept = cell_of(partition={**PARTITION, "unseen": 0.0}), cell_of(partition=PARTITION)
    assert usual.key == cell_of(partition={"clients": 5, "groups": 5, "min_test": 5}).key
    assert kept.key != usual.key
    assert (taking_part(usual.as_dict()), taking_part(kept.as_dict())) == (5, 3)


def test_nets_that_are_named_client_by_client_are_refused(small_grid: Callable[..., Grid]) -> None:
    models = {"names": ["mlp-8", "mlp-4"], "assignment": ["mlp-8", "mlp-4", "mlp-4", "mlp-4", "mlp-4"]}
    small_grid(models=models, partition={**PARTITION, "unseen": 0.0})
    with pytest.raises(ConfigError, match=r"partition\.unseen=0\.4 keeps clients out of training"):
        small_grid(Overrides(methods="local"), models=models, partition=PARTITION)
