"""Reading records from their folders (benchmarks room): everything is checked, and nothing in them is executed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, get_args

from fl_bench.errors import DataError

from ..grid.protocol import Protocol
from .record import FORMAT, Record, Status

if TYPE_CHECKING:
    from pathlib import Path


def read_record(folder: Path) -> Record:
    """Read the record of a folder; nothing in it is executed.

    Raises:
        DataError: run.json is missing, is not what it should be, or was written by a newer fl-bench.
    """
    path = folder / "run.json"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{folder} is no record: it has no run.json; remove the folder") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); restore it, or remove the folder to run it again") from None
    return Record(folder, parse_run(text, path))


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
        raise DataError(f"{path} cannot be read ({error}); restore it, or remove the folder to run it again") from None
    if not isinstance(run, dict) or not isinstance(run.get("format"), int):
        raise DataError(f"{path} does not say its format; restore it, or remove the folder to run it again")
    if run["format"] > FORMAT:
        raise DataError(
            f"{path} has format {run['format']}, this fl-bench reads up to {FORMAT}; a newer fl-bench wrote it: update"
        )
    wanted = {"status": str, "label": str, "cell": dict, "facts": dict, "provenance": dict, "clocks": dict, "key": str}
    wrong = [name for name, kind in wanted.items() if not isinstance(run.get(name), kind)]
    if not wrong and run["status"] not in get_args(Status):
        wrong = ["status"]
    if not wrong and not {"dataset", "partition", "method", "seed", "training"} <= run["cell"].keys():
        wrong = ["cell"]
    if not wrong and not Protocol.reads(run["cell"].get("protocol", {})):
        wrong = ["protocol"]
    if wrong:
        raise DataError(f"{path} lacks or garbles {', '.join(wrong)}; restore it, or remove the folder to run it again")
    run.setdefault("reason", None)
    return run


def without_clocks(folder: Path) -> dict[str, Any]:
    """All of a record but its clocks; two runs of one cell on one machine agree in it exactly."""
    record = read_record(folder)
    run = {name: value for name, value in record.run.items() if name != "clocks"}
    tables = {
        name: [{key: str(value) for key, value in row.items() if not key.startswith("seconds_")} for row in rows]
        for name, rows in (("rounds", record.rounds), ("clients", record.clients))
    }
    return {**run, **tables}
