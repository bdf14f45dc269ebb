"""The grids that come with fl-bench: all can be read; and networks of several kinds, on real data."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.grid.grid import GRIDS, expand, read_grid
from fl_bench.benchmarks.records.store import Store
from fl_bench.datasets.catalogue import available

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("path", sorted(GRIDS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_grid_of_ours_expands_without_an_unsupported_cell(path: Path) -> None:
    file = read_grid(path)
    grid = expand(file, str(path))
    assert file.name == path.stem
    assert grid.cells
    # The grid of all methods has a setting without groups, which the bound that knows them cannot run in.
    grouped = {cell.key for cell in grid.cells if cell.method == "centralized-group" and file.name == "defaults"}
    assert grid.unsupported.keys() <= grouped
    assert "local" in {cell.method for cell in grid.cells}


MIXED = """
name: mixed
datasets: [fashion-mnist]
partition: {scheme: latent-groups, clients: 15, groups: 5, alpha: 5, public: 0.1, val_fraction: 0.1, max_train: 3000}
models: {names: [cnn-small, lenet5, mlp-200], assignment: balanced, server: cnn}
training: {rounds: 2, local_epochs: 1, batch_size: 64, optimizer: adam, lr: 1e-3}
methods: [local, {cosmos: {clusters: 5, distill_epochs: 1, server_epochs: 1, consistency: 0}}]
seeds: [0]
"""


@pytest.mark.slow
def test_mixed_networks_on_fashion_mnist(tmp_path: Path) -> None:
    found, remedy = available("fashion-mnist")
    if not found:
        pytest.skip(f"needs real data: fashion-mnist ({remedy})")
    grid, out = tmp_path / "mixed.yaml", tmp_path / "out"
    grid.write_text(MIXED, encoding="utf-8")
    assert run_command(["run", str(grid), "--jobs", "1", "--out", str(out)]) == 0
    records = {record.cell["method"]["name"]: record for record in Store(out).records()}
    assert {name: record.status for name, record in records.items()} == {"cosmos": "done", "local": "done"}
    cosmos = records["cosmos"]
    # methods.md 2.8: n N C 4 bytes each way; N = 10 classes * 0.1 * 300 rows; nothing is received in round 0
    each_way = 15 * 300 * 10 * 4
    assert [(row["bytes_up"], row["bytes_down"]) for row in cosmos.rounds] == [(each_way, 0), (each_way, each_way)]
    for row in cosmos.rounds:
        assert -1 <= row["cluster_ari"] <= 1
        assert 1 <= row["clusters"] <= 5
    last = [row for row in cosmos.clients if row["round"] == 1]
    assert all(row["cluster"] is not None for row in last)
    # balanced: round-robin inside each of the 5 groups of 3 clients
    per_group = {group: Counter(row["model"] for row in last if row["group"] == group) for group in range(5)}
    assert all(counts == {"cnn-small": 1, "lenet5": 1, "mlp-200": 1} for counts in per_group.values())
    assert cosmos.facts["parameters"]["lenet5"] == 44426
