"""A results folder with all that a report has to cope with: views, badges, two data sets, a run that diverged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.record import Outcome
    from fl_bench.benchmarks.records.store import Store

LEVELS = {"local": 60.0, "fedmd": 70.0, "cosmos": 75.0, "fedavg": 65.0}
CATEGORIES = {"local": "bound", "fedmd": "distillation", "cosmos": "clustered", "fedavg": "averaging"}
ORACLE = {"view_badges": {"server_oracle": ["oracle: test labels"]}}


@pytest.fixture
def filled(store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]) -> Path:
    """Digits and optdigits, two seeds, four methods; one fedavg run diverged."""
    for place, dataset in enumerate(("digits", "optdigits")):
        for method, level in LEVELS.items():
            for seed in (0, 1):
                cell = cell_of(method, seed=seed, datasets=(dataset,))
                if (method, dataset, seed) == ("fedavg", "optdigits", 1):
                    store.write(
                        cell, outcome(status="diverged", reason="a weight of client <3> left the finite numbers")
                    )
                    continue
                last = level + 5 * place + seed
                views = {"client": [last - 20, last - 4, last]}
                if method == "cosmos":
                    views["server_oracle"] = [last - 9, last + 1, last + 2]
                facts = {"category": CATEGORIES[method], **(ORACLE if method == "cosmos" else {})}
                store.write(cell, outcome(views, facts=facts))
    return store.results
