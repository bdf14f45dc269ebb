"""Settings of records are named by what differs between them, and chosen by any of their settings."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from fl_bench.benchmarks.grid.grid import Overrides
from fl_bench.benchmarks.leaderboard.files import files
from fl_bench.benchmarks.leaderboard.lines import lines
from fl_bench.benchmarks.leaderboard.naming import only_settings, setting_hash, setting_names
from fl_bench.benchmarks.statistics.reading import read_records
from fl_bench.benchmarks.tables.results import print_results
from fl_bench.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fl_bench.benchmarks.grid.grid import Grid
    from fl_bench.benchmarks.records.record import Outcome
    from fl_bench.benchmarks.records.store import Store

    Cells = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def cells(small_grid: Callable[..., Grid]) -> Cells:
    """A resolved cell for each of several lists of options."""

    def make(*options: Sequence[str], **changes: Any) -> list[dict[str, Any]]:
        return [
            small_grid(Overrides(methods="local", options=list(given)), always=(), **changes).cells[0].as_dict()
            for given in options
        ]

    return make


def names(cells: Sequence[dict[str, Any]]) -> list[str]:
    return list(setting_names({(cell["dataset"], setting_hash(cell)): cell for cell in cells}).values())


def test_one_setting_has_no_name_and_others_are_told_apart(cells: Cells) -> None:
    assert names(cells([])) == [""]
    assert names(cells([], ["partition.alpha=0.1"])) == ["alpha=1", "alpha=0.1"]
    two = cells(["training.lr=1e-2", "partition.clients=10"], ["training.lr=0.1"], ["partition.clients=10"])
    assert names(two) == ["clients=10, lr=0.01", "clients=5, lr=0.1", "clients=10, lr=0.001"]


def test_settings_of_another_data_set_name_nothing(cells: Cells) -> None:
    both = [*cells([]), *cells(["partition.alpha=9"], datasets=("optdigits",))]
    assert names(both) == ["", ""]


def test_a_default_that_records_leave_out_is_named(cells: Cells) -> None:
    assert names(cells([], ["partition.public.noise=3"])) == ["public.noise=0", "public.noise=3"]
    assert names(cells([], ["faults.absent=0.1"])) == ["absent=0", "absent=0.1"]


def test_settings_of_one_scheme_are_named_where_they_differ_among_its_own(cells: Cells) -> None:
    skewed = [["partition.scheme=dirichlet-class", f"partition.alpha={alpha}"] for alpha in (1, 2)]
    assert names(cells(["partition.alpha=1"], *skewed)) == [
        "alpha=1, scheme=latent-groups",
        "alpha=1, scheme=dirichlet-class",
        "alpha=2, scheme=dirichlet-class",
    ]


@pytest.fixture
def swept(small_grid: Callable[..., Grid], store: Store, outcome: Callable[..., Outcome]) -> Store:
    """Records of two methods over three values of alpha and two numbers of clients."""
    given = Overrides(options=["partition.alpha=[10, 0.1, 2]", "partition.clients=[5, 10]"])
    for cell in small_grid(given).cells:
        store.write(cell, outcome({"client": [1.0, 50.0]}))
    return store


def test_tables_are_titled_by_the_names_in_their_order(swept: Store) -> None:
    board = lines(swept.records())
    printed = io.StringIO()
    print_results(Console(file=printed, width=100), board)
    titles = [line.strip() for line in printed.getvalue().splitlines() if line.startswith("digits")]
    assert titles == [
        f"digits [alpha={alpha}, clients={clients}]" for alpha in ("0.1", "2", "10") for clients in (5, 10)
    ]
    table = read_records(swept.records())
    assert {at.label for at in table.conditions} == set(titles)


def test_files_hold_no_name_that_depends_on_other_records(swept: Store) -> None:
    heading = files(swept.records())["digits.csv"].splitlines()[0].split(",")
    assert "setting" in heading
    assert "setting_name" not in heading


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("alpha=0.1", {(0.1, 5), (0.1, 10)}),
        ("alpha=0.1, clients=10", {(0.1, 10)}),
        ("partition.alpha=1e1,alpha=2,clients=5", {(10, 5), (2, 5)}),
        ("rounds=2,clients=10,alpha=2", {(2, 10)}),
    ],
)
def test_records_are_chosen_by_any_of_their_settings(
    swept: Store, asked: str, expected: set[tuple[float, int]]
) -> None:
    found = [record.cell["partition"] for record in only_settings(swept.records(), asked)]
    assert {(partition["alpha"], partition["clients"]) for partition in found} == expected
    assert len(found) == 2 * len(expected)


def test_a_hash_chooses_too_and_what_is_not_there_is_refused(swept: Store) -> None:
    first = swept.records()[0]
    chosen = only_settings(swept.records(), setting_hash(first.cell))
    assert {setting_hash(record.cell) for record in chosen} == {setting_hash(first.cell)}
    assert only_settings(swept.records(), None) == swept.records()
    with pytest.raises(ConfigError, match=r"'alpha=3'.*known: alpha=0\.1, alpha=10, alpha=2\)"):
        only_settings(swept.records(), "alpha=3")
    with pytest.raises(ConfigError, match=r"'gamma=3'.*known: alpha=0\.1, alpha=10, alpha=2, clients=10, clients=5\)"):
        only_settings(swept.records(), "gamma=3")
