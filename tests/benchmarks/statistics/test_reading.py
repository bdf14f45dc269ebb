"""Tables from records and from CSV files."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from fl_bench.benchmarks.grid.cell import Cell
from fl_bench.benchmarks.grid.grid import Grid
from fl_bench.benchmarks.records.record import Outcome
from fl_bench.benchmarks.statistics.reading import read_records
from fl_bench.errors import ConfigError
from fl_bench.streams import FACTORS

if TYPE_CHECKING:
    from fl_bench.benchmarks.records.store import Store

MakeCell = Callable[..., Cell]
MakeGrid = Callable[..., Grid]
MakeOutcome = Callable[..., Outcome]


@pytest.fixture
def filled(store: Store, cell_of: MakeCell, outcome: MakeOutcome) -> Store:
    """fedmd 60, 70 and local 50, 65 over two seeds, after better first rounds of fedmd; centralized once."""
    for seed, (fedmd, local) in enumerate([(60.0, 50.0), (70.0, 65.0)]):
        views = {"client": [fedmd + 6, fedmd], "server": [1.0, 2.0]}
        facts = {"dataset": {"fingerprint": "f", "classes": 10}}
        store.write(cell_of("fedmd", seed), outcome(views, validation=[9.0, 8.0], facts=facts))
        store.write(cell_of("local", seed), outcome({"client": [0.0, local]}, validation=[1.0, 2.0]))
    store.write(cell_of("centralized", 0), outcome({"pooled": [90.0]}, deployed="pooled"))
    return store


def test_every_method_has_its_own_number(filled: Store) -> None:
    table = read_records(filled.records())
    (condition,) = table.conditions
    assert table.methods == ("fedmd", "local")
    assert (condition.dataset, condition.seeds, condition.classes) == ("digits", (0, 1), 10)
    assert condition.accuracy == ((60.0, 70.0), (50.0, 65.0))
    assert table.notes == ("not compared unless named (pooled data): centralized",)
    assert table.tuning == "untuned defaults"


def test_selection_on_validation_data(filled: Store) -> None:
    (condition,) = read_records(filled.records(), "val").conditions
    assert condition.accuracy == ((66.0, 76.0), (50.0, 65.0))


def test_pooled_bounds_and_views_when_asked(filled: Store) -> None:
    table = read_records(filled.records(), methods=["fedmd · server", "centralized"])
    assert table.methods == ("centralized", "fedmd · server")
    assert table.conditions[0].accuracy == ((90.0, None), (2.0, 2.0))
    with pytest.raises(ConfigError, match="no view of fedmd is named 'sever'; did you mean 'server'"):
        read_records(filled.records(), methods=["fedmd · sever"])
    with pytest.raises(ConfigError, match="no method of these records is named 'fedmdd'"):
        read_records(filled.records(), methods=["fedmdd"])


def test_runs_that_are_not_done_are_gaps_with_a_reason(filled: Store, cell_of: MakeCell, outcome: MakeOutcome) -> None:
    filled.write(cell_of("fedavg", 0), outcome({"client": [1.0]}, status="diverged"))
    table = read_records(filled.records(), methods=["fedavg", "local"])
    assert [(gap.method, gap.seed, gap.status) for gap in table.gaps()] == [
        ("fedavg", 0, "diverged"),
        ("fedavg", 1, "missing"),
    ]


def test_settings_that_are_not_the_defaults_are_said(filled: Store, cell_of: MakeCell, outcome: MakeOutcome) -> None:
    filled.write(cell_of("fedmd[digest_epochs=3]", 0), outcome({"client": [1.0]}))
    other = "fedmd[digest_epochs=3]"
    assert read_records(filled.records()).tuning == (
        f"untuned defaults, but {other} as configured, tuning budget not on record"
    )
    assert read_records(filled.records(), methods=[other]).tuning == (
        "settings as configured, tuning budget not on record"
    )


def test_the_words_of_the_grid_on_tuning_are_quoted(store: Store, cell_of: MakeCell, outcome: MakeOutcome) -> None:
    words = "one value for all"
    for seed in (0, 1):
        store.write(cell_of("fedmd", seed, tuning=words), outcome({"client": [1.0]}))
    assert read_records(store.records()).tuning == words
    # a run with other settings than the grid's says nothing, and then nothing can be said of all
    store.write(cell_of("fedmd[digest_epochs=3]", 0, tuning=words), outcome({"client": [1.0]}))
    assert "tuning budget not on record" in read_records(store.records()).tuning


def test_badges_are_notes(store: Store, cell_of: MakeCell, outcome: MakeOutcome) -> None:
    facts = {"view_badges": {"client": ["oracle: test labels"]}}
    store.write(cell_of("fedmd"), outcome({"client": [1.0]}, facts=facts))
    assert read_records(store.records()).notes == ("fedmd carries a badge, oracle: test labels",)


def test_records_that_vary_parts_of_their_randomness_have_factors(
    store: Store, small_grid: MakeGrid, outcome: MakeOutcome
) -> None:
    grid = small_grid(seeds=(0, 1), vary={"init": "1-2"})
    for score, cell in enumerate(grid.cells[:-1]):  # fedmd lacks the last
        store.write(cell, outcome({"client": [float(score)]}))
    table = read_records(store.records())
    (condition,) = table.conditions
    assert table.factors == FACTORS
    assert ["".join(levels) for levels in condition.levels] == ["0000", "0100", "0200", "1111", "1211"]
    # cells: local and fedmd in turn of 0, 1, 0/init=1, 0/init=2, 1/init=2
    assert condition.accuracy == ((1.0, 5.0, 7.0, 3.0, None), (0.0, 4.0, 6.0, 2.0, 8.0))
    (gap,) = table.gaps()
    assert str(gap).endswith("seed partition=1/init=2/draws=1/batches=1: missing")
