"""Leaving methods of a grid out (benchmarks room): what `--exclude` says."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fl_bench.errors import ConfigError, unknown_name

from .brackets import split_list

if TYPE_CHECKING:
    from .grid import Grid


def without(grid: Grid, text: str) -> Grid:
    """The grid without some methods.

    Args:
        grid: all of it.
        text: labels between commas; a method that is no label stands for all entries of it.
    Raises:
        ConfigError: a name is no method of the grid, or none is left.
    """
    labels = {cell.label: cell.method for cell in grid.cells}
    out: set[str] = set()
    for name in split_list(text, "--exclude"):
        hits = {name} & labels.keys() or {label for label, method in labels.items() if method == name}
        if not hits:
            raise unknown_name("method of this grid", name, labels)
        out |= hits
    cells = tuple(cell for cell in grid.cells if cell.label not in out)
    if not cells:
        raise ConfigError(f"--exclude {text}: no method is left of {', '.join(labels)}")
    keys = {cell.key for cell in cells}
    return replace(grid, cells=cells, unsupported={key: why for key, why in grid.unsupported.items() if key in keys})
