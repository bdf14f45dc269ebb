"""Records as tables in files (benchmarks room): `runs`, `rounds`, `clients` and `leaderboard`, as CSV or Parquet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_bench.files import replacing

from ..running.executor import package_of
from .frames import board_frame, clients_frame, rounds_frame, runs_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import pandas as pd

    from ..leaderboard.reported import Selection
    from ..records.record import Record
    from ..tuning.ledger import Ledger


def as_csv(frame: pd.DataFrame, path: Path) -> None:
    """A frame as CSV, every number to its last bit; nothing stands for a missing value."""
    frame.to_csv(path, index=False, lineterminator="\n")


def as_parquet(frame: pd.DataFrame, path: Path) -> None:
    """A frame as Parquet."""
    frame.to_parquet(path, index=False, engine="pyarrow")


FILES: dict[str, Callable[[pd.DataFrame, Path], None]] = {"csv": as_csv, "parquet": as_parquet}
"""How frames are written, by the ending of the file."""


def check_form(form: str) -> None:
    """Refuse a form of files whose package is missing.

    Raises:
        ConfigError: says how to install it.
    """
    if form == "parquet":
        package_of("parquet", "pyarrow", asked="--to parquet")


def write_tables(
    records: Sequence[Record], form: str, out: Path, select: Selection = "last", ledger: Ledger | None = None
) -> list[Path]:
    """Write the four tables of some records; files of the same names are replaced.

    Args:
        records: what to write.
        form: one of `FILES`.
        out: the folder.
        select: the round that the leaderboard reports.
        ledger: of the tuning that chose the settings, where there was one.
    Returns:
        The files.

    Raises:
        ConfigError: the package of the form is missing.
        DataError: records of one comparison contradict each other, or a table cannot be read.
        StorageError: the disk does not take a file.
    """
    check_form(form)
    tables: dict[str, Callable[[], pd.DataFrame]] = {
        "leaderboard": lambda: board_frame(records, select, ledger),
        "runs": lambda: runs_frame(records),
        "rounds": lambda: rounds_frame(records),
        "clients": lambda: clients_frame(records),
    }
    paths = []
    for name, make in tables.items():
        path = out / f"{name}.{form}"
        with replacing(path) as temporary:
            FILES[form](make(), temporary)
        paths.append(path)
    return paths
