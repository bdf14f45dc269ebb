"""Leaderboards as CSV files (benchmarks room): the same bytes for the same records, and how files on disk differ."""

from __future__ import annotations

import csv
import difflib
import io
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from fl_bench.errors import StorageError
from fl_bench.files import write_file

from ..grid.cell import safe_name
from ..grid.protocol import Protocol
from .lines import LEAKS, Line, OverallLine, lines, overall
from .versions import versions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ..records.record import Record
    from .reported import Selection

PLACES = {"seconds": 2, "bytes_up": 1, "bytes_down": 1, "bytes_total": 0, "bytes_one_off": 0, "rank_mean": 2}
"""Decimals of a column; 4 for all others."""


OWN_TO_TABLES = ("setting_name", "setting_brief", "category")
"""Columns of lines that files do not have."""


def files(records: Sequence[Record], selection: Selection = "last") -> dict[str, str]:
    """The leaderboards as file name to content."""
    board = lines(records, selection)
    result = {}
    for dataset in sorted({line.dataset for line in board}):
        own = [line for line in board if line.dataset == dataset]
        result[f"{safe_name(dataset)}.csv"] = _table(Line, own)
    result["overall.csv"] = _table(OverallLine, overall(board))
    return result


def write(folder: Path, content: Mapping[str, str]) -> None:
    """Write the leaderboards, and remove tables that no record stands behind any more.

    Raises:
        StorageError: the folder cannot be written to.
    """
    for name, text in content.items():
        write_file(folder / name, text)
    try:
        for path in folder.glob("*.csv"):
            if path.name not in content:
                path.unlink()
    except OSError as error:
        raise StorageError(f"cannot remove outdated tables from {folder}: {error.strerror}") from None


def differences(folder: Path, content: Mapping[str, str]) -> list[str]:
    """How the files on disk differ from the leaderboards of the records: lines of a unified diff, none if equal."""
    present = {path.name: path.read_bytes().decode(errors="replace") for path in sorted(folder.glob("*.csv"))}
    found: list[str] = []
    for name in sorted(present.keys() | content.keys()):
        before, after = present.get(name, ""), content.get(name, "")
        if before != after:
            found += difflib.unified_diff(
                before.splitlines(),
                after.splitlines(),
                f"{folder / name}",
                f"{name} from the records",
                lineterm="",
                n=0,
            )
            found += [] if before.splitlines() != after.splitlines() else [f"{folder / name}: line ends differ"]
    return found


def _table(kind: type[Line] | type[OverallLine], rows: Sequence[Line] | Sequence[OverallLine]) -> str:
    names = [column.name for column in fields(kind) if column.name not in OWN_TO_TABLES]
    if all(protocol == Protocol() for row in rows for protocol in row.protocols):
        names.remove("protocols")  # tables that were published before there were versions keep their bytes
    if all(getattr(row, "acc_new", None) is None for row in rows):
        names = [name for name in names if name not in ("acc_drawn", "acc_new")]  # and those where everybody took part
    if all(getattr(row, "acc_honest", None) is None for row in rows):
        names = [name for name in names if name != "acc_honest"]  # and those where nobody was poisoned
    if all(getattr(row, column, None) is None for row in rows for column in LEAKS):
        names = [name for name in names if name not in LEAKS]  # and those where nobody was attacked
    trained = [rules for row in rows if (rules := getattr(row, "trained_with", None)) is not None]
    if not any(rules.own or rules.own_steps for rules in trained):
        names = [name for name in names if name != "trained_with"]  # and those where all train as `training` says
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_format(name, getattr(row, name)) for name in names] for row in rows)
    return buffer.getvalue()


def _format(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return versions(value)
    if isinstance(value, float):
        text = f"{value:.{PLACES.get(name, 4)}f}"
        return text.removeprefix("-") if not text.strip("-0.") else text  # no -0.0000
    return str(value)
