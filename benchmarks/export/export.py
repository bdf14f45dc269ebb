"""`fl-bench export` as a function (benchmarks room): records to the tables or the tracker of a name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_bench.errors import unknown_name

from .files import FILES, write_tables
from .replay import write_runs
from .trackers import TRACKERS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ..leaderboard.reported import Selection
    from ..records.record import Record
    from ..tuning.ledger import Ledger


def targets() -> list[str]:
    """What records can be exported to."""
    return [*FILES, *TRACKERS.names()]


def export_records(
    records: Sequence[Record], to: str, out: Path, *, select: Selection = "last", ledger: Ledger | None = None
) -> list[Path]:
    """Write records for another tool.

    Args:
        records: what to write.
        to: one of `targets()`.
        out: the folder.
        select: the round that a leaderboard reports.
        ledger: of the tuning that chose the settings, where there was one.
    Returns:
        What was written: files, or a folder.

    Raises:
        ConfigError: there is no such target, its package is missing, or a tracker's folder is not empty.
        DataError: records contradict each other, or cannot be read.
        StorageError: the disk does not take it.
    """
    if to not in targets():
        raise unknown_name("export", to, targets())
    return write_tables(records, to, out, select, ledger) if to in FILES else [write_runs(records, to, out)]
