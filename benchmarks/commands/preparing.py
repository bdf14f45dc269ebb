"""What comes before the first run of a grid (benchmarks room), for the command line and for Python.

It checks the ledger of a tuned grid, opens the results folder, looks at what is there, and declares the comparison.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import astuple
from itertools import combinations
from typing import TYPE_CHECKING

from fl_bench.errors import DataError

from ...datasets.catalogue import load_dataset
from ...datasets.overlap import Overlap, overlap
from ..records.declarations import Declared, declare, now
from ..records.models import MODELS
from ..records.recovery import recover
from ..records.shared_rows import keep, looked_at
from ..running.runner import finished
from ..statistics.verdicts import many
from ..tables.terminal import say
from ..tuning.travel import carried, check_seeds, leave
from .progress import saying

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ..grid.cell import Cell
    from ..grid.grid import Grid, GridFile
    from ..records.store import Store
    from ..running.runner import Ending
    from ..tuning.ledger import Ledger


def tuning_of(file: GridFile, grid: Grid, path: Path) -> tuple[Ledger, str] | None:
    """The ledger of a tuned grid, checked, and its text; None where nothing was tuned.

    Args:
        file: the grid as written.
        grid: what is to run of it.
        path: its file.
    Raises:
        ConfigError: it is another ledger than the grid names, or seeds that chose the settings would judge them.
        DataError: it is missing, no ledger, or does not agree with itself.
    """
    tuning = carried(file, path)
    if tuning is not None:
        check_seeds(grid, tuning[0])
    return tuning


def open_results(store: Store, tuning: tuple[Ledger, str] | None) -> None:
    """Make the folder ready: see that it can be written to, leave the ledger there, put back what a kill interrupted.

    Raises:
        ConfigError: the folder has the ledger of another tuning.
        StorageError: it cannot be written to.
    """
    store.check_writable()
    if tuning is not None:
        leave(tuning[1], store.results)
    for place in recover(store).values():
        say(f"put back, its process was killed while it was replaced: {place}")


def look(grid: Grid, store: Store, *, retry: bool) -> tuple[list[Cell], list[Ending]]:
    """The cells of a grid that have to run, and how others ended; one whose record is damaged is neither."""
    waiting, earlier = [], []
    for cell in grid.cells:
        with suppress(DataError):  # it is named when the grid ends
            ending = finished(cell, store, retry=retry)
            if ending is None:
                waiting.append(cell)
            else:
                earlier.append(ending)
    return waiting, earlier


def say_without_models(earlier: Sequence[Ending]) -> None:
    """Count the runs that `--keep-models` comes too late for; nothing is said where there are none."""
    late = sum(ending.status == "done" and not (ending.folder / MODELS).exists() for ending in earlier)
    if late:
        say(f"{many(late, 'run')} finished earlier without keeping models; `run --force` runs all of the grid again")


def look_for_shared_rows(grid: Grid, store: Store, data_dir: Path | None) -> None:
    """Look for rows that a user's data sets share with others of the grid, and keep what was found beside the records.

    Only pairs with a user's data are looked at, each once: what is known of data sets that come with fl-bench is known.

    Args:
        grid: what is to run.
        store: where to.
        data_dir: the folder to look for data in first.
    Raises:
        DataError: data cannot be read.
    """
    asked = {cell.dataset.name: cell.dataset for cell in grid.cells}
    before = looked_at(store.results)
    done = {frozenset((one.first, one.second)) for one in before}
    pairs = [
        (one, other)
        for one, other in combinations(asked.values(), 2)
        if (one.digest or other.digest) and frozenset((one.name, other.name)) not in done
    ]
    if not pairs:
        return
    with saying("looking for rows that data sets share"):
        loaded = {
            choice.name: load_dataset(choice.location, data_dir=data_dir)
            for choice in {one.name: one for pair in pairs for one in pair}.values()
        }
        found = []
        for one, other in pairs:
            shared = overlap(loaded[one.name], loaded[other.name])
            sizes = len(loaded[one.name].labels), len(loaded[other.name].labels)
            rows = (sizes[0], 0, sizes[1], 0) if shared is None else astuple(shared)[2:]
            found.append(Overlap(one.name, other.name, *rows))
    for pair in found:
        if pair.found:
            say(f"{pair}: as observations they are not independent; one family: compare --families")
    keep(store.results, [*before, *found])


def declare_comparison(grid: Grid, path: Path, store: Store, recorded: int) -> None:
    """Write what the grid declares of its comparison beside the records, before any more of them are made.

    Args:
        grid: what is to run.
        path: the grid's file.
        store: where to.
        recorded: runs of it that have a record.
    """
    if grid.declaration is None:
        return
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    meant = Declared(grid.name, digest, now(), recorded, len(grid.cells), grid.declaration, grid.question)
    before = declare(store, meant)
    if before is not None:
        say(
            f"the grid {grid.name} declared another comparison at {before.date}: it is kept, and this one counts as "
            f"declared after {recorded} of {len(grid.cells)} runs"
        )
