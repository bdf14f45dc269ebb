"""Accuracies of single clients, from records made by hand to a mixed model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fl_bench.benchmarks.grid.cell import Cell
from fl_bench.benchmarks.records.record import Outcome
from fl_bench.benchmarks.statistics.clients import on_clients
from fl_bench.benchmarks.statistics.mixed import mixed
from fl_bench.errors import DataError

if TYPE_CHECKING:
    from fl_bench.benchmarks.records.store import Store

MakeCell = Callable[..., Cell]
MakeOutcome = Callable[..., Outcome]

NATURAL: dict[str, Any] = {"datasets": ("vowel",), "partition": {"scheme": "natural", "clients": 4, "min_test": 5}}


@pytest.fixture
def write(store: Store, cell_of: MakeCell, outcome: MakeOutcome) -> Callable[..., None]:
    """Write a run from the accuracies of its clients after the last of two rounds; None is a gap."""

    def make(method: str, seed: int, last: list[float | None], **changes: Any) -> None:
        made = outcome({"client": [0.0, 50.0]})
        rows = [
            {"round": at, "client": client, "client.acc": value if at else 0.0}
            for at in (0, 1)
            for client, value in enumerate(last)
        ]
        store.write(cell_of(method, seed, **changes), replace(made, clients=rows))

    return make


def test_differences_by_client_and_seed(store: Store, write: Callable[..., None]) -> None:
    generator = np.random.default_rng(3)
    ours, theirs = generator.uniform(50, 90, (2, 4, 4)).round(3)
    theirs[1, 2] = np.nan
    for seed in range(4):
        for method, table in (("fedmd", ours), ("local", theirs)):
            write(method, seed, [None if np.isnan(value) else float(value) for value in table[seed]], **NATURAL)
    write("local", 4, [50.0] * 4, **NATURAL)  # a seed that the other lacks
    (row,) = on_clients(store.records(), "fedmd", ["local"], 0.05)
    assert (row.dataset, row.method, row.other, row.seeds, row.clients) == ("vowel", "local", "fedmd", 4, 4)
    assert row.same_clients
    assert row.found == mixed(theirs - ours, 0.05, same_clients=True)
    assert row.found is not None
    assert row.p_holm == row.found.p


def test_clients_that_are_dealt_anew_and_holm_over_all_rows(store: Store, write: Callable[..., None]) -> None:
    generator = np.random.default_rng(4)
    for seed in range(3):
        base = generator.uniform(60, 70, 5)
        write("fedmd", seed, (base + 20).round(2).tolist())
        write("local", seed, (base + generator.normal(0, 1, 5)).round(2).tolist())
        write("fedavg", seed, (base + 20 + generator.normal(0, 1, 5)).round(2).tolist())
    local, fedavg = on_clients(store.records(), "fedmd", ["local", "fedavg"], 0.05)
    assert not local.same_clients
    assert local.found is not None
    assert fedavg.found is not None
    assert local.p_holm == pytest.approx(2 * local.found.p)
    assert (local.significant, fedavg.significant) == (True, False)
    assert on_clients(store.records(), "fedmd", ["fedprox"], 0.05) == ()
    assert on_clients(store.records(), "fedprox", ["local"], 0.05) == ()


def test_a_record_without_the_view_is_named(store: Store, cell_of: MakeCell, outcome: MakeOutcome) -> None:
    for method in ("fedmd", "local"):
        made = outcome({"client": [0.0, 50.0]})
        rows = [{"round": at, "client": 0, "other.acc": 1.0} for at in (0, 1)]
        store.write(cell_of(method, 0), replace(made, clients=rows))
    with pytest.raises(DataError, match=r"clients\.csv lacks client\.acc in round 1"):
        on_clients(store.records(), "fedmd", ["local"], 0.05)
