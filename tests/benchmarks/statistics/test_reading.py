"""Tables from records and from CSV files."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from fl_bench.benchmarks.grid.cell import Cell
from fl_bench.benchmarks.grid.grid import Grid
from fl_bench.benchmarks.records.record import Outcome
from fl_bench.benchmarks.statistics.numbers import read_table
from fl_bench.benchmarks.statistics.reading import read_records
from fl_bench.errors import ConfigError, DataError
from fl_bench.streams import FACTORS

if TYPE_CHECKING:
    from pathlib import Path

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


def written(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


LAYOUTS = {
    "a line per data set": "dataset,a,b\nx,1,2\ny,3,4\n",
    "a line per method": "method,x,y\na,1,3\nb,2,4\n",
    "a line per run": "dataset,method,accuracy\nx,a,1\nx,b,2\ny,a,3\ny,b,4\n",
    "semicolons": "dataset;a;b\nx;1;2\ny;3;4\n",
    "spreads and signs": "\ufeffdataset,a,b\nx,1.0 ± 0.3,2 (0.1)\ny,3%,4.0+/-1\n",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_say_the_same(tmp_path: Path, layout: str) -> None:
    table = read_table(written(tmp_path, LAYOUTS[layout]))
    assert (table.methods, table.datasets) == (("a", "b"), ("x", "y"))
    assert table.block_means("dataset").tolist() == [[1, 2], [3, 4]]
    assert table.notes == ("no column `seed`: each number counts as one run",)


def test_seeds_settings_and_classes(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "dataset,setting,seed,classes,a\nx,iid,3,5,1\nx,iid,4,5,2\nx,skew,3,5,7\n"))
    assert [(at.label, at.seeds, at.classes) for at in table.conditions] == [
        ("x [iid]", (3, 4), 5),
        ("x [skew]", (3,), 5),
    ]


def test_gaps_and_words_for_how_a_run_ended(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "dataset,a,b,c,d\nx,1,,-,Diverged\n"))
    assert [(gap.method, gap.status) for gap in table.gaps()] == [("b", "missing"), ("c", "missing"), ("d", "diverged")]


def test_factors_stand_for_seeds(tmp_path: Path) -> None:
    text = "dataset,method,partition,init,accuracy\nx,a,0,0,1\nx,a,1,0,2\nx,b,0,0,5\nx,b,1,0,6\n"
    table = read_table(written(tmp_path, text))
    assert table.factors == ("partition", "init")
    assert table.conditions[0].levels == (("0", "0"), ("1", "0"))
    assert table.conditions[0].accuracy == ((1.0, 2.0), (5.0, 6.0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,a\nx,1\n", "say no layout"),
        ("dataset,a\n", "no table"),
        ("dataset\nx\n", "no table"),
        ("dataset,a,a\nx,1,2\n", "several columns called 'a'"),
        ("dataset,a\nx,1\nx,2\n", "has a on x with seed 0 twice; a column `seed`"),
        ("dataset,a\nx,1,2\n", "line 2 has 3 cells under 2 headings"),
        ("dataset,a\nx,good\n", "line 2: 'good' is no number"),
        ("dataset,seed,a\nx,one,1\n", "seed must be a whole number of at most nine digits, found 'one'"),
        (f"dataset,seed,a\nx,{'9' * 5000},1\n", "seed must be a whole number of at most nine digits"),
        ("dataset,a\nx,\n", "holds no number"),
        ("dataset,a\n,1\n", "lacks the name of its data set"),
        ("dataset,seed,init,method,accuracy\nx,0,0,a,1\n", "keep the seed, or what it stands for"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_table(written(tmp_path, text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_table(tmp_path / "nothing.csv")
