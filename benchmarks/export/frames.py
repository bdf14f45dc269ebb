"""Records as tidy data frames (benchmarks room): what `fl_bench.Results` shows and exports write."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pandas as pd
from pandas.api.types import infer_dtype

from ..leaderboard.lines import lines
from ..leaderboard.naming import setting_hash
from .trackers import ACCURACY, VALIDATION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..leaderboard.reported import Selection
    from ..records.record import Record
    from ..records.rows import Row, Value
    from ..tuning.ledger import Ledger

IDENTITY = ["dataset", "setting", "method", "seed"]
"""Columns that every frame of runs begins with: which run a row belongs to."""


def runs_frame(records: Sequence[Record]) -> pd.DataFrame:
    """A row per run: `status`, `reason`, `accuracy` of the deployed models after the last round (percent, mean over
    clients; none where the run is not done), `seconds` of wall time, `key`."""
    rows = [
        {
            **identity(record),
            "status": record.status,
            "reason": record.reason,
            ACCURACY: _last(record),
            "seconds": record.seconds,
            "key": record.run["key"],
        }
        for record in records
    ]
    return _frame(rows)


def rounds_frame(records: Sequence[Record]) -> pd.DataFrame:
    """A row per run and round: `accuracy` of the deployed models (percent, mean over clients), `validation` of the
    same models, then the columns of `rounds.csv` (docs/records.md)."""
    return _rows_of(records, round_rows)


def clients_frame(records: Sequence[Record]) -> pd.DataFrame:
    """A row per run, round and client: `accuracy` of the deployed models (percent), then the columns of
    `clients.csv`."""
    return _rows_of(records, lambda record: _deployed_first(record.clients, _deployed(record, "acc"), {}))


def board_frame(records: Sequence[Record], select: Selection = "last", ledger: Ledger | None = None) -> pd.DataFrame:
    """A row per data set, setting, method and view, the columns of the leaderboard files (docs/records.md).

    Args:
        records: of one results folder.
        select: the round that is reported: `last`, or the best by validation accuracy (`val`).
        ledger: of the tuning that chose the settings, where there was one.
    Raises:
        DataError: records of one comparison contradict each other.
    """
    found = [asdict(line) for line in lines(records, select, ledger)]
    return pd.DataFrame(found).drop(columns=["protocols", "trained_with"], errors="ignore")


def identity(record: Record) -> dict[str, Any]:
    """Which run a record is of, under the names of `IDENTITY`."""
    return {
        "dataset": str(record.cell["dataset"]),
        "setting": setting_hash(record.cell),
        "method": record.label,
        "seed": str(record.repetition) if record.repetition.varied else record.cell["seed"],
    }


def round_rows(record: Record) -> list[Row]:
    """The rows of `rounds.csv`: round, `accuracy` and `validation` of the deployed models, and the other columns."""
    return _deployed_first(record.rounds, _deployed(record, "acc_mean"), {"val_acc_mean": VALIDATION})


def _deployed(record: Record, column: str) -> str:
    return f"{record.facts.get('deployed')}.{column}"


def _deployed_first(rows: Sequence[Row], deployed: str, renamed: Mapping[str, str]) -> list[Row]:
    """Rows with the deployed accuracy as `accuracy`, behind the round."""
    found = []
    for row in rows:
        rest: dict[str, Value] = {renamed.get(name, name): value for name, value in row.items() if name != deployed}
        found.append({"round": row["round"], ACCURACY: row.get(deployed), **rest})
    return found


def _rows_of(records: Sequence[Record], read: Callable[[Record], Sequence[Row]]) -> pd.DataFrame:
    rows = []
    for record in records:
        own = identity(record)
        rows += [{**own, **row} for row in read(record)]
        record.let_go()
    return _frame(rows)


def _frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a frame, each column of one type: where some cells are text, such as the seed `0/init=3`, all are."""
    frame = pd.DataFrame(rows) if rows else pd.DataFrame(columns=IDENTITY)
    for name in frame.columns:
        if infer_dtype(frame[name]).startswith("mixed"):
            frame[name] = frame[name].map(str, na_action="ignore")
    return frame


def _last(record: Record) -> float | None:
    if record.status != "done" or not record.rounds:
        return None
    value = record.rounds[-1].get(_deployed(record, "acc_mean"))
    return float(value) if isinstance(value, int | float) else None
