"""Records that another machine made (benchmarks room): whether texts are the record of a cell, before they are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from fl_bench.errors import DataError

from .reading import parse_run
from .record import FORMAT, Record
from .texts import FILES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..grid.cell import Cell
    from .rows import Row

MOST_BYTES = 2**29
"""Bytes of the largest file of a record that is taken from another machine."""

PARTS = {"format", "status", "reason", "label", "key", "tuning", "cell", "facts", "provenance", "clocks", "traceback"}
"""What run.json may hold."""


def check_texts(cell: Cell, texts: Mapping[str, str]) -> None:
    """Refuse texts that are not the record that `Store.write` makes of a run of the cell; nothing is executed.

    Args:
        cell: whose record it has to be.
        texts: file to text.
    Raises:
        DataError: a file is missing, too much, too large or garbled, or is of another cell.
    """
    place = Path(f"the record of {cell.folder}")
    if set(texts) != set(FILES):
        raise DataError(f"{place} has the files {', '.join(sorted(texts)) or 'none'}, not {', '.join(FILES)}")
    for name, text in texts.items():
        if len(text) > MOST_BYTES:
            raise DataError(f"{place / name} has {len(text)} characters; {MOST_BYTES} are the most")
    run = parse_run(texts["run.json"], place / "run.json")
    wanted = {
        "format": FORMAT,
        "label": cell.label,
        "key": cell.key,
        "tuning": cell.tuning or None,
        "cell": json.loads(json.dumps(cell.as_dict())),
    }
    wrong = sorted({name for name, value in wanted.items() if run.get(name) != value} | (run.keys() - PARTS))
    if not isinstance(run["reason"], str | None) or (run["status"] == "done") != (run["reason"] is None):
        wrong.append("reason")
    if wrong:
        raise DataError(f"{place / 'run.json'} garbles {', '.join(wrong)}")
    if json.dumps(run, indent=1) + "\n" != texts["run.json"]:
        raise DataError(f"{place / 'run.json'} is not written as records are")
    record = Record(place, run, texts)
    _check_rows(cell, run["status"] == "done", record.rounds, record.clients, place)


def _check_rows(cell: Cell, done: bool, rounds: list[Row], clients: list[Row], place: Path) -> None:
    """The rounds are 0, 1, 2 and so on, all of them where the run is done, and clients belong to one of them."""
    wanted = cell.training.rounds
    if [row.get("round") for row in rounds] != list(range(len(rounds))) or len(rounds) > wanted:
        raise DataError(f"{place / 'rounds.csv'} does not count its rounds from 0 to at most {wanted - 1}")
    if done and len(rounds) != wanted:
        raise DataError(f"{place / 'rounds.csv'} has {len(rounds)} rounds of a run that is done with {wanted}")
    numbers = range(len(rounds))
    for row in clients:
        client = row.get("client")
        if row.get("round") not in numbers or not isinstance(client, int) or not 0 <= client < cell.split.clients:
            raise DataError(f"{place / 'clients.csv'} has a row of no client or of no round")
