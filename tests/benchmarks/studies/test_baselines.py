"""What docs/cosmos.md says of COSMOS against other methods, by hand, and that it says nothing of an untuned grid."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fl_bench.benchmarks.commands.question import Question
from fl_bench.benchmarks.commands.screen import tell
from fl_bench.benchmarks.grid.declaration import Declaration
from fl_bench.benchmarks.records.declarations import Declared, declare
from fl_bench.benchmarks.studies.baselines import page
from fl_bench.errors import DataError
from fl_bench.methods.registry import METHODS

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.record import Outcome
    from fl_bench.benchmarks.records.store import Store
    from fl_bench.benchmarks.report.screen import Told

DATASETS = ("digits", "letter", "marketing", "penbased", "satimage", "segment", "texture")
ONE = {"name": "cosmos", "label": "cosmos-k1", "settings": {"clustering": "single"}}
BEHIND = {"fedavg": 6.0, "fedprox": 4.0, "ditto": -2.0, "local": 5.0, "cosmos-k1": 1.0}
"""Points behind COSMOS, on average."""


@pytest.fixture
def told(store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]) -> Told:
    """Six methods on seven data sets, two seeds; each data set moves all differences a little."""
    for place, dataset in enumerate(DATASETS):
        for method, points in {"cosmos": 0.0, **BEHIND}.items():
            for seed in (0, 1):
                level = 80 - points - (0 if method == "cosmos" else 0.1 * (place - 3)) + 2 * seed
                cell = cell_of(method, seed, datasets=(dataset,), methods=("local", "cosmos", ONE))
                store.write(cell, outcome({"client": [50.0, level]}))
    methods = tuple(name for name in BEHIND if name != "cosmos-k1")
    meant = Declaration("cosmos", methods, ablations=("cosmos-k1",), datasets=DATASETS, seeds=(0, 1))
    declare(store, Declared("offline", "0" * 64, "2025-12-31T00:00:00+00:00", 0, 84, meant))
    return tell(store.results, Question())[0]


def test_gains_by_hand(told: Told) -> None:
    found = page.facts(told)
    rows = [[cell.strip() for cell in row.strip("| ").split("|")] for row in found["gains"].splitlines()]
    # The mean of FedAvg and FedProx is 5 behind; all four verdicts take p = 2/2^7 = .0156 times 4 = .0625: undecided.
    assert [(row[0], row[1].partition(" ")[0], row[2]) for row in rows[2:]] == [
        ("training alone, their mean", "-5.0", "undecided: local"),
        ("averaging, their mean", "-5.0", "undecided: fedavg, fedprox"),
        ("personalized, their mean", "+2.0", "undecided: ditto"),
        ("one cluster", "-1.0", "worse"),
    ]
    assert found["population"].startswith("7 data sets")
    assert found["losses"].startswith("35 differences on single data sets it is behind")


def test_where_it_loses(told: Told) -> None:
    assert told.comparison is not None
    rows = tuple(replace(row, significant=row.method in ("ditto", "cosmos-k1")) for row in told.comparison.per_dataset)
    found = page.facts(replace(told, comparison=replace(told.comparison, per_dataset=rows)))
    where = ", ".join(f"{name} 1" for name in DATASETS)  # the ablation is another family
    assert f"it is behind 7 times (ditto 7; on {where}), and ahead 0 times" in found["losses"]
    none = tuple(replace(row, significant=row.method == "fedavg") for row in rows)
    found = page.facts(replace(told, comparison=replace(told.comparison, per_dataset=none)))
    assert "it is behind nowhere, and ahead 7 times" in found["losses"]


def test_without_a_ledger_nothing_is_claimed(told: Told, store: Store) -> None:
    assert page.told(store.results).startswith("- **No claim against other methods is made here.**")
    with pytest.raises(DataError, match=r"nothing to say of results: gone"):
        page.facts(replace(told, comparison=None, obstacle="gone"))


def test_every_category_of_methods_has_a_word() -> None:
    assert {METHODS[name].category for name in METHODS.names()} == page.KINDS.keys()
