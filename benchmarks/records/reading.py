"""Reading records (benchmarks room): everything is checked, and nothing in them is executed."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from fl_bench.errors import DataError
from fl_bench.limits import RECORD_DEPTH

from ..grid.cell import safe_name
from .checks import Garbled, check_run
from .index import place_of
from .record import FORMAT, Record
from .texts import RUN, read_text

if TYPE_CHECKING:
    from pathlib import Path

AGAIN = "restore it, or remove the folder to run it again"


def read_record(folder: Path) -> Record:
    """Read the record of a folder, its tables when they are asked for; nothing in it is executed.

    Raises:
        DataError: run.json is missing, is not what it should be, or was written by a newer fl-bench.
    """
    path = folder / RUN
    if not os.path.lexists(path):
        raise DataError(f"{folder} is no record: it has no run.json; remove the folder")
    return Record(folder, parse_run(read_text(path), path))


def parse_run(text: str, path: Path) -> dict[str, Any]:
    """The content of a run.json, checked.

    Args:
        text: the file's text.
        path: where it is from, for messages.
    Raises:
        DataError: it is not what it should be, or was written by a newer fl-bench.
    """
    try:
        run = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({error}); {AGAIN}") from None
    # So many brackets say little; only a text that has them is looked through.
    if text.count("{") + text.count("[") > RECORD_DEPTH and _depth(run) > RECORD_DEPTH:
        raise DataError(f"{path} has more than {RECORD_DEPTH} lists and mappings inside one another; {AGAIN}")
    if not isinstance(run, dict) or type(run.get("format")) is not int:
        raise DataError(f"{path} does not say its format; {AGAIN}")
    if run["format"] > FORMAT:
        raise DataError(
            f"{path} has format {run['format']}, this fl-bench reads up to {FORMAT}; a newer fl-bench wrote it: update"
        )
    try:
        check_run(run)
    except Garbled as error:
        raise DataError(f"{path} {error}; {AGAIN}") from None
    run.setdefault("reason", None)
    return run


def check_name(record: Record) -> Record:
    """The record, if it is the one that its folder's name promises.

    Raises:
        DataError: data set, seed or key are others in its run.json.
    """
    own = safe_name(record.cell["dataset"]), str(record.cell["seed"]), str(record.run["key"])
    if place_of(record.name) != own:
        raise DataError(
            f"{record.folder} holds the record of {own[0]}, seed {own[1]}, key {own[2]}: it is named for another; "
            f"name it {own[0]}/<label>-{own[1]}-{own[2]}, or remove it"
        )
    return record


def without_clocks(folder: Path) -> dict[str, Any]:
    """All of a folder's record but its clocks; two runs of one cell on one machine agree in it exactly."""
    return beside_clocks(read_record(folder))


def beside_clocks(record: Record) -> dict[str, Any]:
    """All of a record but its clocks: run.json by name, and the two tables."""
    run = {name: value for name, value in record.run.items() if name != "clocks"}
    tables = {
        name: [{key: str(value) for key, value in row.items() if not key.startswith("seconds_")} for row in rows]
        for name, rows in (("rounds", record.rounds), ("clients", record.clients))
    }
    return {**run, **tables}


def _depth(values: Any) -> int:
    """How many lists and mappings are inside one another."""
    deepest, waiting = 0, [(values, 1)]
    while waiting:
        value, depth = waiting.pop()
        deepest = max(deepest, depth)
        if isinstance(value, dict | list):
            inside = value.values() if isinstance(value, dict) else value
            waiting += [(part, depth + 1) for part in inside if isinstance(part, dict | list)]
    return deepest
