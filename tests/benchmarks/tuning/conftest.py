"""Tunings whose runs are made up: validation accuracy is a formula of settings, data set and seed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from fl_bench.benchmarks.grid.grid import GridFile, Overrides
from fl_bench.benchmarks.tuning.asked import Asked, Budget

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.record import Outcome
    from fl_bench.benchmarks.records.store import Store
    from fl_bench.benchmarks.tuning.study import Study
    from fl_bench.spaces import Space

    Score = Callable[[Cell], float | None]

FILE = GridFile(
    name="small",
    datasets=("digits", "vowel"),
    methods=("local", "fedmd"),
    seeds="0-1",
    partition={"clients": 5, "groups": 5, "min_test": 5, "val_fraction": 0.2},
    models=["mlp-8"],
    training={"rounds": 2, "local_epochs": 2, "lr": 0.005},
)


@pytest.fixture
def ask() -> Callable[..., Asked]:
    """What is asked, of a small grid; changes of the grid by name, those of the budget in `budget`."""

    def make(
        budget: Budget | None = None,
        overrides: Overrides | None = None,
        spaces: dict[str, Space] | None = None,
        **changes: Any,
    ) -> Asked:
        return Asked(replace(FILE, **changes), "small.yaml", overrides or Overrides(), budget or Budget(), spaces)

    return make


@pytest.fixture
def play(outcome: Callable[..., Outcome]) -> Callable[..., list[list[Cell]]]:
    """Writes records for what a study asks for, until it asks no more or was asked so often; what it asked for."""

    def run(study: Study, store: Store, score: Score, most: int = 1000) -> list[list[Cell]]:
        asked = []
        while len(asked) < most and (cells := study.waiting()):
            asked.append(cells)
            for cell in cells:
                value = score(cell)
                found = (
                    outcome({"client": [10.0, 10.0]}, validation=[0.0, value])
                    if value is not None
                    else outcome(status="failed", reason="it broke")
                )
                store.write(cell, found, replace=True)
        return asked

    return run
