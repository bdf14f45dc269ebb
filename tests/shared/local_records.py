"""Records that an executor made, held against those of a run in this process (shared by tests of executors)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_bench.benchmarks.records.reading import without_clocks
from fl_bench.benchmarks.records.store import Store
from fl_bench.benchmarks.running.runner import Options, run_cell

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fl_bench.benchmarks.grid.cell import Cell


def compare_with_local(store: Store, cells: Sequence[Cell], folder: Path) -> None:
    """Every byte but clocks is that of a run in this process, whose records go into `folder`."""
    other = Store(folder)
    for cell in cells:
        run_cell(cell, other, Options())
    assert [folder.name for folder in store.folders()] == [folder.name for folder in other.folders()]
    assert len(store.folders()) == len(cells)
    for ours, theirs in zip(store.folders(), other.folders(), strict=True):
        assert without_clocks(ours) == without_clocks(theirs)
        assert (ours / "clients.csv").read_bytes() == (theirs / "clients.csv").read_bytes()
